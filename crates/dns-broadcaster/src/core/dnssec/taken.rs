//! Zones that somebody else has signed: what they deny from is found among their records.

use super::super::packed::Node;
use super::super::record::Kind;
use super::super::table::{Builder, Table};
use super::super::zone::Zone;
use super::chain::Chain;
use super::hash::Hashing;
use super::seal::{earlier, expiries};
use super::sign::{Links, Signed};

impl Zone {
    /// This zone, whose records are all that its primary gave, signatures and denials among them: answers
    /// carry those as they do in a zone that is signed here. A zone without keys or without a chain that is
    /// known here is answered without.
    #[must_use]
    pub fn signed_elsewhere(self) -> Self {
        let Some(links) = self.links() else { return self };
        let (nodes, hashed) = match &links {
            Links::Names(_) => (self.nodes.clone(), Table::default()),
            Links::Hashes(hashing) => apart(&self.nodes, hashing),
        };
        let expiries = self.nodes.iter().flat_map(|(_, node)| expiries(Node::of(node)));
        let expires = expiries.fold(None, |first, expires| Some(earlier(first, expires)));
        let signed = Some(Signed { links, expires: expires.unwrap_or_default(), source: None });
        Self { nodes, hashed, signed, ..self }
    }

    /// All its nodes in one table, as its primary gave them.
    #[must_use]
    pub fn taken_nodes(&self) -> Table {
        let mut nodes = self.nodes.clone();
        for (name, node) in self.hashed.iter() {
            nodes.insert(name, node);
        }
        nodes
    }

    /// From what its records deny; `None` when it is not signed, or in no way that is known here.
    fn links(&self) -> Option<Links> {
        let apex = self.node(self.origin.as_bytes())?;
        apex.set(Kind::DNSKEY).and(apex.set(Kind::RRSIG))?;
        if apex.set(Kind::NSEC).is_some() {
            return Some(Links::Names(chain_of(&self.nodes)));
        }
        // RFC 5155 section 7.3: of several chains any that is whole, and those with parameters are.
        let mut parameters = apex.set(Kind::NSEC3PARAM)?.values();
        parameters.find_map(|data| Hashing::of_rdata(data.as_bytes())).map(Links::Hashes)
    }
}

fn chain_of(nodes: &Table) -> Chain {
    let owns_nsec = |(name, node)| Node::of(node).set(Kind::NSEC).map(|_| name);
    Chain::of(nodes.key(), nodes.iter().filter_map(owns_nsec))
}

/// The names of the zone, and the hashed ones of this chain, where nothing else stands. Those of another
/// chain, on its way in or out, are left where they are.
fn apart(nodes: &Table, hashing: &Hashing) -> (Table, Table) {
    let keyed = || Builder::keyed(nodes.key());
    let (mut rest, mut hashed) = (keyed(), keyed());
    for (name, node) in nodes.iter() {
        let set = Node::of(node).set(Kind::NSEC3);
        let found = set.and_then(|set| Hashing::of_rdata(set.first().as_bytes()));
        if found.as_ref() == Some(hashing) { hashed.push(name, node) } else { rest.push(name, node) }
    }
    (rest.finish(), hashed.finish())
}
