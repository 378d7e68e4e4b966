//! What the supervisor carries between a sandbox and the host.

use crate::support::{self, Platform};
use serde_json::json;

pub fn barrier(platform: &mut Platform) {
    let mut sandbox = platform.spawn("i-1", "write on demand");
    for round in 0..200u32 {
        sandbox.tell();
        sandbox.wait_for(b'w');
        sandbox.send(support::PING, 0, 0, &round.to_be_bytes());
        let mut bytes = 0;
        loop {
            match sandbox.frame().unwrap() {
                (support::LOG, 1, 0, text) => bytes += text.len(),
                (support::PING, 1, 0, payload) => break assert_eq!(payload, round.to_be_bytes()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bytes, 1000, "round {round}");
    }
    platform.must("kill", json!({ "instance": "i-1" }));
}

pub fn platform_api(platform: &mut Platform) {
    const BYTES: usize = 1_000_000;
    let mut sandbox = platform.spawn("i-1", "call");
    let (mut echoed, mut credit, mut waiting) = (0usize, 262_144usize, Vec::new());
    let (mut received, mut is_ended) = (0usize, false);
    let (kind, _, stream, payload) = sandbox.frame().unwrap();
    assert_eq!((kind, stream, payload.as_slice()), (support::OPEN, 2, &b"{\"service\":\"platform-api\"}"[..]));
    loop {
        match sandbox.frame().unwrap() {
            (support::DATA, 0, 2, bytes) => {
                received += bytes.len();
                waiting.extend_from_slice(&bytes);
                sandbox.send(support::CREDIT, 0, 2, &(bytes.len() as u32).to_be_bytes());
            }
            (support::CREDIT, 0, 2, bytes) => credit += u32::from_be_bytes(bytes.try_into().unwrap()) as usize,
            (support::END, 1, 2, _) => is_ended = true,
            (support::LOG, ..) => {}
            other => panic!("{other:?}"),
        }
        while credit > 0 && !waiting.is_empty() {
            let part: Vec<u8> = waiting.drain(..waiting.len().min(credit).min(65_536)).collect();
            credit -= part.len();
            echoed += part.len();
            sandbox.send(support::DATA, 0, 2, &part);
        }
        if is_ended && echoed == BYTES {
            break;
        }
    }
    assert_eq!(received, BYTES);
    sandbox.send(support::END, 1, 2, b"");
    assert_eq!(sandbox.rest(), "1000000 same\n");
}
