//! Plain hickory with the zone in memory: what this server would be without its own data plane.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, NS, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record};
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::net::UdpSocket;

use crate::ZONE;

/// Serves until it is ended.
pub(crate) fn serve(address: SocketAddr, names: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut server = Server::new(catalog(names));
        server.register_socket(UdpSocket::bind(address).await.unwrap());
        server.block_until_done().await.unwrap();
    });
}

/// The zone that the others have.
fn catalog(names: usize) -> Catalog {
    let name = |text: &str| Name::from_ascii(format!("{text}{ZONE}.")).unwrap();
    let origin = name("");
    let soa = SOA::new(name("ns1."), name("admin."), 1, 3600, 600, 86400, 60);
    let mut zone = InMemoryZoneHandler::<hickory_server::net::runtime::TokioRuntimeProvider>::empty(
        origin.clone(),
        ZoneType::Primary,
        AxfrPolicy::Deny,
    );
    let mut add = |owner, data| assert!(zone.upsert_mut(Record::from_rdata(owner, 60, data), 1));
    let address = |octets| RData::A(A(Ipv4Addr::from(octets)));
    add(origin.clone(), RData::SOA(soa));
    add(origin.clone(), RData::NS(NS(name("ns1."))));
    add(name("ns1."), address([127, 0, 0, 1]));
    add(name("*.wild."), address([192, 0, 2, 1]));
    for number in 0..names {
        let octets = [192, 0, (number / 250 % 250) as u8, (number % 250) as u8];
        add(name(&format!("host-{number}.")), address(octets));
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::from(&origin), vec![Arc::new(zone) as Arc<dyn ZoneHandler>]);
    catalog
}
