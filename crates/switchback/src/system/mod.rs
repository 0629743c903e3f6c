//! One system: how it is created, and how its services are run.

pub mod init;
pub mod service;
pub mod up;
