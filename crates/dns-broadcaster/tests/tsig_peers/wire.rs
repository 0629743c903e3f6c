//! As much of DNS as these tests need, without the code under test.

/// Types of records.
pub(crate) const NS: u16 = 2;
pub(crate) const SOA: u16 = 6;
pub(crate) const TXT: u16 = 16;
pub(crate) const AXFR: u16 = 252;

/// A name as it travels.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// A question with the flags of a query, or of a NOTIFY (RFC 1996).
pub(crate) fn question(id: u16, is_notify: bool, zone: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([if is_notify { 0x24 } else { 0 }, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(name(zone));
    bytes.extend([kind.to_be_bytes(), [0, 1]].concat());
    bytes
}

/// The header and the question of a request, as an authoritative answer without records.
pub(crate) fn response(request: &[u8]) -> Vec<u8> {
    let mut bytes = request[..question_end(request)].to_vec();
    bytes[2] = 0x84 | (request[2] & 0x78);
    bytes[3] = 0;
    bytes[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// The name and the type that a request asks for.
pub(crate) fn asked(request: &[u8]) -> (&[u8], u16) {
    let end = question_end(request);
    (&request[12..end - 4], u16::from_be_bytes([request[end - 4], request[end - 3]]))
}

fn question_end(request: &[u8]) -> usize {
    let mut at = 12;
    while request[at] != 0 {
        at += 1 + usize::from(request[at]);
    }
    at + 5
}

/// Adds a record to the answer section; `owner` as it travels.
pub(crate) fn push(message: &mut Vec<u8>, owner: &[u8], kind: u16, data: &[u8]) {
    let count = u16::from_be_bytes([message[6], message[7]]) + 1;
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message.extend(owner);
    message.extend([kind.to_be_bytes(), [0, 1]].concat());
    message.extend(5_u32.to_be_bytes());
    message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    message.extend(data);
}

/// The types of the records in the answer section.
pub(crate) fn answers(message: &[u8]) -> Vec<u16> {
    let count = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let mut at = 12;
    let pass_name = |at: &mut usize| {
        while message[*at] != 0 && message[*at] < 0xc0 {
            *at += 1 + usize::from(message[*at]);
        }
        *at += if message[*at] == 0 { 1 } else { 2 };
    };
    for _ in 0..count(4) {
        pass_name(&mut at);
        at += 4;
    }
    let mut kinds = Vec::new();
    for _ in 0..count(6) {
        pass_name(&mut at);
        kinds.push(count(at));
        at += 10 + usize::from(count(at + 8));
    }
    kinds
}

/// The response code.
pub(crate) fn code(message: &[u8]) -> u8 {
    message[3] & 0x0f
}
