//! What every service needs around its core: configuration, telemetry, health, drain, durable state and channels.
