//! The one owner of the state: decides under a lock, makes the decision durable, then lets others
//! see it.

use std::sync::Arc;

use switchback_kit::durable::{self, Db};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::core::{Answer, Change, Decision, Own, Refusal, State};
use crate::{Error, read, signer, store};

/// Why a command has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    Sign(Error),
    /// The service is about to end; see [`Keeper::failed`].
    State,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Inner>);

struct Inner {
    config: Config,
    db: Db,
    /// Commands go one by one; there are a few a year.
    turn: Mutex<()>,
    state: watch::Sender<Arc<State>>,
    failed: CancellationToken,
}

impl Keeper {
    /// Recovers the state in `db`, or makes a new identity when there is none.
    pub(crate) async fn open(db: Db, config: &Config) -> Result<Self, Error> {
        let mut state = store::load(&db)?;
        match &state.own {
            Some(own) => check_identity(own, config)?,
            None => {
                let incarnation = signer::new_incarnation()?;
                let own = signer::make(config.system_id, incarnation, &config.domain, read::now())?;
                tracing::info!(certificate = ?own.certificate, "new identity made");
                let change = Change::PutOwn(own);
                db.commit_async(store::batch(std::slice::from_ref(&change))).await?;
                state.apply(change);
            }
        }
        let state = watch::Sender::new(Arc::new(state));
        let inner = Inner {
            config: config.clone(),
            db,
            turn: Mutex::default(),
            state,
            failed: CancellationToken::new(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// The state now.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.0.state.borrow())
    }

    /// The state now and as it becomes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.0.state.subscribe()
    }

    /// Returns when state could not be made durable: the process must start again from disk.
    pub(crate) async fn failed(&self) {
        self.0.failed.cancelled().await;
    }

    /// Carries out a command. It runs to its end even when the caller goes away: a decision that
    /// is durable but not applied would make the next one wrong.
    pub(crate) async fn command<F>(&self, decide: F) -> Result<Answer, Failure>
    where
        F: FnOnce(&State, &Config) -> Result<Decision, Failure> + Send + 'static,
    {
        let keeper = self.clone();
        let done = tokio::spawn(async move { keeper.carry_out(decide).await });
        done.await.unwrap_or(Err(Failure::State))
    }

    async fn carry_out<F>(&self, decide: F) -> Result<Answer, Failure>
    where
        F: FnOnce(&State, &Config) -> Result<Decision, Failure>,
    {
        let _turn = self.0.turn.lock().await;
        let mut state = State::clone(&self.state());
        let Decision { changes, answer } = decide(&state, &self.0.config)?;
        if changes.is_empty() {
            return Ok(answer);
        }
        self.0.db.commit_async(store::batch(&changes)).await.map_err(|error| self.fail(&error))?;
        for change in changes {
            log(&change);
            state.apply(change);
        }
        self.0.state.send_replace(Arc::new(state));
        Ok(answer)
    }

    fn fail(&self, error: &durable::Error) -> Failure {
        tracing::error!(error = error.to_string(), "state could not be made durable");
        self.0.failed.cancel();
        Failure::State
    }
}

fn check_identity(own: &Own, config: &Config) -> Result<(), Error> {
    let certificate = &own.certificate;
    if certificate.system_id != config.system_id {
        let (stored, configured) = (certificate.system_id.to_string(), config.system_id.to_string());
        return Err(Error::OtherSystem { stored, configured });
    }
    if certificate.domain != config.domain {
        tracing::warn!(
            certified = certificate.domain,
            configured = config.domain,
            "the certificate names another domain than the configuration; \
             renew it and upload it to the other systems"
        );
    }
    Ok(())
}

/// The log is the audit of who was trusted when.
fn log(change: &Change) {
    match change {
        Change::PutOwn(own) => tracing::info!(certificate = ?own.certificate, "own certificate replaced"),
        Change::PutTrusted(trusted) => {
            tracing::info!(certificate = ?trusted.certificate, "certificate trusted");
        }
        Change::RemoveTrusted(fingerprint) => tracing::info!(%fingerprint, "trust in certificate ended"),
        Change::PutWithdrawn(..)
        | Change::RemoveWithdrawn(_)
        | Change::PutAnswer(..)
        | Change::RemoveAnswer(_) => {}
    }
}
