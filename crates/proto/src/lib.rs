//! The wire: gRPC services and messages, and the records the services keep.
