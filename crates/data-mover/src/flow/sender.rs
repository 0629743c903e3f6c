//! Sending one content: when a stream is opened, and what the receiver's first word means. The
//! stream itself is a [`Session`].

use std::sync::Arc;
use std::time::Duration;

use switchback_kit::tls::Trouble;
use switchback_model::{Epoch, Hlc};
use switchback_proto::replication::v1::receiver_message::Body as Answer;
use switchback_proto::replication::v1::refusal::Reason;
use switchback_proto::replication::v1::replication_service_client::ReplicationServiceClient;
use switchback_proto::replication::v1::sender_message::Body;
use switchback_proto::replication::v1::{Hello, Refusal, SenderMessage};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::exchange::{Pause, header, obey};
use super::limit::{CONTACT_TIME, DIFFERENCE_TIME, MESSAGE_BYTES_MAX, QUEUE, REPAIR_INTERVAL};
use super::session::Session;
use crate::convert::{content_to_wire, lineage_to_wire, parting_to_wire};
use crate::link::{Flow, Link};
use crate::mover::Mover;
use tokio::time::Instant;

/// The wish to send at all is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Why a session ended, for the operator.
pub(crate) type Ended = String;

/// Sends for as long as it is wished.
pub(crate) async fn run(mover: Arc<Mover>, link: Arc<Link>, flow: Arc<Flow>, stop: CancellationToken) {
    let mut pause = Pause::new();
    let mut repaired = None;
    loop {
        let mut changed = link.listen();
        if !is_ready(&link, &flow) {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = changed.changed() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            continue;
        }
        let compare = is_differing(&flow, DIFFERENCE_TIME)
            && repaired.is_none_or(|at: Instant| at.elapsed() > REPAIR_INTERVAL);
        if compare {
            repaired = Some(Instant::now());
        }
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ended = session(&mover, &link, &flow, compare, repaired) => ended,
        };
        match ended {
            Ok(()) => pause.reset(),
            Err(trouble) => {
                tracing::debug!(content = %flow.content, trouble, "flow interrupted");
                flow.state().sending_trouble = trouble;
                mover.bells.ring_status();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause.next()) => {}
                }
            }
        }
    }
}

/// Everything a session needs is there: the wish, the contact, and a peer that takes it.
pub(crate) fn is_ready(link: &Link, flow: &Flow) -> bool {
    link.desired().sends(flow.content.id)
        && link.in_contact()
        && !flow.is_rolled_back()
        && flow.state().peer.as_ref().is_some_and(|peer| peer.receiving)
}

/// Both sides say that nothing is left, and their digests have differed for `time`.
pub(crate) fn is_differing(flow: &Flow, time: Duration) -> bool {
    flow.state().differing_since.is_some_and(|since| since.elapsed() > time)
}

async fn session(
    mover: &Arc<Mover>,
    link: &Arc<Link>,
    flow: &Arc<Flow>,
    compare: bool,
    repaired: Option<Instant>,
) -> Result<(), Ended> {
    let Some(status) = mover.status(link.id, flow.content.id).map_err(words)? else {
        return Err("the content is not here yet".into());
    };
    // What the peer deleted meanwhile shows in a comparison alone.
    let compare = compare || status.went_back;
    let desired = link.desired();
    let dial = link.bulk(&mover.identity);
    let mut client = ReplicationServiceClient::new(dial.channel())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (outbound, stream) = mpsc::channel(QUEUE);
    let read = status.cursors.last();
    let hello = Hello {
        header: Some(header(link, &desired)),
        content: Some(content_to_wire(&flow.content)),
        feed_id: status.head.feed.0,
        head: status.head.sequence,
        compare,
        runs: lineage_to_wire(&status.lineage),
        read_feed_id: read.map_or(0, |cursor| cursor.feed.0),
        read_through: read.map_or(0, |cursor| cursor.through),
        read_parting: read.and_then(|cursor| cursor.parting).map(parting_to_wire),
        read: lineage_to_wire(&status.peer_lineage),
        clock: mover.catalogue.clock().map_err(words)?.0,
    };
    send(&outbound, Body::Hello(hello)).await?;
    let explain = |status: &tonic::Status| {
        let trouble = Trouble::of(status).or_else(|| dial.trouble());
        // A line that failed is not tried again: another connection may take another way.
        link.drop_bulk();
        trouble.map_or_else(|| status.message().to_owned(), |trouble| trouble.to_string())
    };
    let opened = tokio::time::timeout(CONTACT_TIME * 2, async {
        let mut inbound = client.send(ReceiverStream::new(stream)).await?.into_inner();
        let first = inbound.message().await?;
        Ok::<_, tonic::Status>((inbound, first))
    });
    let (mut inbound, first) = match opened.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Err(explain(&status)),
        Err(_) => {
            link.drop_bulk();
            return Err("the other system does not answer".into());
        }
    };
    let welcome = match first.and_then(|message| message.body) {
        Some(Answer::Welcome(welcome)) => welcome,
        Some(Answer::Refusal(refusal)) => return Err(refused(mover, link, flow, &refusal).await),
        Some(Answer::Demand(_) | Answer::Ack(_) | Answer::Missing(_)) | None => {
            return Err("the other system's mover ended the stream".into());
        }
    };
    mover.catalogue.see(Hlc(welcome.clock)).await.map_err(words)?;
    if welcome.cursor > status.head.sequence {
        flow.state().local_rolled_back = true;
        link.ring();
        return Err("this system's store is behind what the other one has of it: it was rolled back".into());
    }
    let mut session =
        Session::new(mover, link, flow, outbound, &welcome, status.head.feed, (compare, repaired));
    session.begin(&welcome).await?;
    session.run(&mut inbound, &explain).await
}

/// The words of an error of ours.
pub(crate) fn words(error: impl std::error::Error) -> Ended {
    crate::status::chain(&error)
}

async fn send(outbound: &mpsc::Sender<SenderMessage>, body: Body) -> Result<(), Ended> {
    outbound.send(SenderMessage { body: Some(body) }).await.map_err(|_| "the stream was closed".to_owned())
}

/// Takes in what a refusal says, and answers why in words.
pub(crate) async fn refused(mover: &Arc<Mover>, link: &Link, flow: &Flow, refusal: &Refusal) -> Ended {
    match refusal.reason() {
        Reason::StaleEpoch => {
            let mut header = header(link, &link.desired());
            std::mem::swap(&mut header.sender_incarnation, &mut header.receiver_incarnation);
            header.epoch = refusal.epoch.max(link.known_epoch().0);
            if let Err(refusal) = obey(mover, link, &header).await {
                return refusal.text;
            }
            tracing::debug!(epoch = %Epoch(refusal.epoch), "the receiver named a higher epoch");
        }
        Reason::RolledBack => {
            flow.state().local_rolled_back = true;
            link.ring();
        }
        Reason::Unspecified
        | Reason::UnknownLink
        | Reason::WrongIncarnation
        | Reason::NotReceiving
        | Reason::NoContent
        | Reason::Trouble => {}
    }
    refusal.text.clone()
}
