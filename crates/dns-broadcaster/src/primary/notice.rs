//! NOTIFY from primaries (RFC 1996): who may tell, and of what.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use tokio::sync::mpsc;

use crate::access;
use crate::core::name::Name;
use crate::core::secondary::Primary;
use crate::core::zone::Serial;

/// Zones that are followed, and from whom.
pub(crate) type Followed = BTreeMap<Name, Primary>;

/// A zone that its primary has changed, and to which serial, if it says.
pub(crate) type Notice = (Name, Option<Serial>);

/// See the module. Shared by all sockets.
pub(crate) struct Notices {
    pub(crate) primaries: Arc<[access::Primary]>,
    pub(crate) followed: Arc<ArcSwap<Followed>>,
    pub(crate) told: mpsc::Sender<Notice>,
}

impl Notices {
    /// Takes a NOTIFY for `zone` and says what it is answered with; nothing when too many wait, for then it
    /// is sent again (RFC 1996 section 3.6).
    ///
    /// A primary is known by its address or by its key: some name servers sign transfers and no NOTIFY. All
    /// that is believed is that somebody should ask, which whoever forges it could have had as well.
    pub(crate) fn take(
        &self,
        zone: &Name,
        serial: Option<Serial>,
        source: IpAddr,
        key: Option<&Name>,
    ) -> Option<ResponseCode> {
        if self.primaries.is_empty() {
            return Some(ResponseCode::NotImp);
        }
        let is_known = |primary: &access::Primary| {
            primary.address.ip() == source.to_canonical() || key.is_some() && primary.key.as_ref() == key
        };
        if !self.primaries.iter().any(is_known) {
            return Some(ResponseCode::Refused);
        }
        let followed = self.followed.load();
        let Some(&Primary(number)) = followed.get(zone) else { return Some(ResponseCode::NotAuth) };
        if !self.primaries.get(number).is_some_and(is_known) {
            return Some(ResponseCode::NotAuth);
        }
        self.told.try_send((zone.clone(), serial)).is_ok().then_some(ResponseCode::NoError)
    }

    /// Whether one of the primaries is at this address.
    pub(crate) fn is_primary(&self, source: IpAddr) -> bool {
        self.primaries.iter().any(|primary| primary.address.ip() == source.to_canonical())
    }
}
