//! The certificate service: the system's identity and the certificates it trusts.
