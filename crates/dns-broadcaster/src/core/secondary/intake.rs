//! A transfer on its way in: in which order its records must come (RFC 5936 section 2.2, RFC 1995
//! section 4), and when it is whole. What they say is judged when all of them are there ([`super::copy`]).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::super::name::Name;
use super::super::record::{Kind, Value};
use super::super::zone::Serial;
use super::stream::{Line, Stream};
use super::wire::{Incoming, Malformed, Message};

/// As many as a zone file of the operator's own may have bytes.
pub const TRANSFER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The whole zone (AXFR).
    Whole,
    /// What a server lacks that holds this serial (IXFR).
    Since(Serial),
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// The primary has the serial that is held.
    UpToDate,
    /// The primary has this serial, which is not newer than the one that is held.
    Backwards(Serial),
    /// This.
    Stream(Stream),
}

/// Why a transfer is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Broken {
    #[error("a message is malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("the primary answers with code {0}")]
    Declined(u8),
    #[error("it does not begin with the zone's SOA")]
    NoStart,
    #[error("a SOA stands where none can be")]
    StraySoa,
    #[error("what changed does not lead on from what is held, or not to the end")]
    Gap,
    #[error("records follow its end")]
    Behind,
    #[error("it has more than {TRANSFER_BYTES_MAX} bytes")]
    TooLong,
}

/// See the module.
pub struct Intake {
    origin: Name,
    id: u16,
    wanted: Wanted,
    held: Option<Serial>,
    stream: Stream,
    state: State,
    /// The newest serial, and the whole SOA with it.
    newest: Option<(Serial, Box<[u8]>)>,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came.
    Start,
    /// The SOA came, and nothing else.
    First,
    /// The zone's records come.
    Whole,
    /// What went comes.
    Removed,
    /// What came comes, up to this serial.
    Added(Serial),
    End,
}

impl Intake {
    /// What answers the question with this id for the zone of `origin`, of which `held` is held.
    #[must_use]
    pub fn new(origin: &Name, id: u16, wanted: Wanted, held: Option<Serial>) -> Self {
        Self {
            origin: origin.clone(),
            id,
            wanted,
            held,
            stream: Stream::new(true),
            state: State::Start,
            newest: None,
            value: Vec::new(),
        }
    }

    /// Whether anything of an answer came.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.state != State::Start
    }

    /// Takes the next message. Says what came when that is all there is to know; more may be on its way
    /// then, which nobody needs.
    ///
    /// # Errors
    /// The transfer is broken, and with it all of it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<Arrived>, Broken> {
        let mut message = Message::read(bytes)?;
        let asked = match self.wanted {
            Wanted::Whole => AXFR,
            Wanted::Since(_) => IXFR,
        };
        let is_answer = message.question.as_ref().is_none_or(|(name, kind)| {
            // Some primaries say that they answer with the whole zone.
            name.as_bytes() == self.origin.as_bytes() && [asked, AXFR].contains(kind)
        });
        if message.id != self.id || !is_answer {
            return Err(Malformed::NoAnswer.into());
        }
        if message.code != 0 {
            return Err(Broken::Declined(message.code));
        }
        let mut value = core::mem::take(&mut self.value);
        while let Some(record) = message.next(&mut value)? {
            self.record(&record)?;
        }
        self.value = value;
        if self.state == State::Start {
            return Err(Broken::NoStart);
        }
        let Some((newest, _)) = self.newest else { return Ok(None) };
        // Whatever follows, it is not taken.
        if self.held.is_some_and(|held| !newest.is_newer_than(held)) {
            return Ok(Some(match self.held == Some(newest) {
                true => Arrived::UpToDate,
                false => Arrived::Backwards(newest),
            }));
        }
        let stream = Stream::new(true);
        Ok((self.state == State::End).then(|| Arrived::Stream(core::mem::replace(&mut self.stream, stream))))
    }

    fn record(&mut self, record: &Incoming<'_>) -> Result<(), Broken> {
        let Incoming { owner, kind, value, .. } = record;
        let is_soa = *kind == Kind::SOA;
        if is_soa && owner.as_bytes() != self.origin.as_bytes() {
            return Err(Broken::StraySoa);
        }
        let serial = Value(value).serial().filter(|_| is_soa);
        match (self.state, serial) {
            (State::Start, Some(serial)) => {
                self.newest = Some((serial, (*value).into()));
                self.state = State::First;
            }
            (State::Start, None) => return Err(Broken::NoStart),
            (State::First, None) => self.state = State::Whole,
            (State::First, Some(serial)) if self.is_newest(serial, value) => return Err(Broken::NoStart),
            (State::First, Some(serial)) => {
                if self.wanted != Wanted::Since(serial) {
                    return Err(Broken::Gap);
                }
                self.stream = Stream::new(false);
                self.state = State::Removed;
            }
            (State::Whole, None) | (State::Removed, None) | (State::Added(_), None) => {}
            (State::Whole, Some(serial)) => {
                // RFC 5936 section 2.2: the same record.
                if !self.is_newest(serial, value) {
                    return Err(Broken::StraySoa);
                }
                self.state = State::End;
                return Ok(());
            }
            (State::Removed, Some(serial)) => self.state = State::Added(serial),
            (State::Added(reached), Some(serial)) if serial == reached => {
                if self.is_newest(serial, value) {
                    self.state = State::End;
                    return Ok(());
                }
                self.state = State::Removed;
            }
            (State::Added(_), Some(_)) => return Err(Broken::Gap),
            (State::End, _) => return Err(Broken::Behind),
        }
        self.push(record)
    }

    fn is_newest(&self, serial: Serial, value: &[u8]) -> bool {
        self.newest.as_ref().is_some_and(|(newest, soa)| *newest == serial && **soa == *value)
    }

    fn push(&mut self, record: &Incoming<'_>) -> Result<(), Broken> {
        let Incoming { owner, kind, ttl, value } = record;
        self.stream.push(Line { owner: owner.as_bytes(), kind: *kind, ttl: *ttl, value });
        if self.stream.len() > TRANSFER_BYTES_MAX { Err(Broken::TooLong) } else { Ok(()) }
    }
}

const IXFR: Kind = Kind(251);
const AXFR: Kind = Kind(252);
