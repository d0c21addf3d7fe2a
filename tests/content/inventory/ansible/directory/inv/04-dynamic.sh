#!/bin/sh
cat <<'JSON'
{"cloud": {"hosts": ["c1", "c2"], "vars": {"region": "eu"}, "children": ["spot"]}, "spot": ["c3"],
 "_meta": {"hostvars": {"c1": {"ansible_host": "203.0.113.1", "n": 5}, "c3": {}}}}
JSON
