"""Where repositories lie: directories, NFS exports, S3 buckets (``ports.ObjectStore``)."""
