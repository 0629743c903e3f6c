//! The store: catalogue of records, change feeds and digests, and the blobs they name.
