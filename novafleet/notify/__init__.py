"""Who is told how a scheduled run went: mail, a signed webhook, apprise."""
