//! The link manager: who may write, and how that changes.
