//! The data mover: the store's service, and the flows that replicate and recover it.
