//! The gateway: S3 in, gRPC out.
