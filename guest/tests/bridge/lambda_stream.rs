use crate::rig::World;
use crate::wire;
use serde_json::json;
use std::time::{Duration, Instant};

/// Streams by hand: http.client can not send trailers.
const STREAM: &str = r#"
import socket, time
def begin(id, kind, mode=True):
    s = socket.create_connection(('127.0.0.1', 9001))
    s.sendall(f'POST {BASE}invocation/{id}/response HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: {kind}\r\n'.encode()
        + (b'Lambda-Runtime-Function-Response-Mode: streaming\r\n' if mode else b'')
        + b'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n')
    return s
def chunk(s, data): s.sendall(b'%x\r\n%s\r\n' % (len(data), data))
def finish(s, trailers=b''):
    s.sendall(b'0\r\n' + trailers + b'\r\n')
    return s.recv(9999).split(b' ')[1]
"#;

#[test]
fn a_prelude_becomes_status_headers_and_cookies() {
    let Some(world) = World::new() else { return };
    let body = "id, event, _ = next_event()\ns = begin(id, 'application/vnd.awslambda.http-integration-response')\n\
        chunk(s, b'{\"statusCode\":201,\"headers\":{\"Content-Type\":\"text/html\"},')\n\
        chunk(s, b'\"cookies\":[\"a=b\",\"c=d\"]}' + b'\\0' * 8 + b'<p>')\nchunk(s, b'</p>')\nassert finish(s) == b'202'\n\
        id, event, _ = next_event()\ns = begin(id, 'application/vnd.awslambda.http-integration-response')\n\
        chunk(s, b'{\"statusCode\":200,\"headers\":{\"x\":\"a\\\\nb\"}}' + b'\\0' * 8)\nfinish(s)\nnext_event()\n";
    world.bootstrap(&format!("{STREAM}{body}"));
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let outcome = bridge.call("1");
    let headers = json!([["Content-Type", "text/html"], ["set-cookie", "a=b"], ["set-cookie", "c=d"]]);
    assert_eq!(outcome.head, Some(json!({ "status": 201, "headers": headers })));
    assert_eq!(outcome.text(), "<p></p>");
    assert_eq!(bridge.call("2").error().0, "Runtime.InvalidResponse");
}

#[test]
fn bytes_arrive_as_they_are_written_and_a_trailer_fails_what_began_well() {
    let Some(world) = World::new() else { return };
    let body = "import base64\nid, event, _ = next_event()\ns = begin(id, 'text/event-stream')\nchunk(s, b'first')\n\
        time.sleep(0.5)\nchunk(s, b'second')\nassert finish(s) == b'202'\n\
        id, event, _ = next_event()\ns = begin(id, 'application/octet-stream', False)\nchunk(s, b'part')\n\
        error = base64.b64encode(json.dumps({'errorType': 'Oops', 'errorMessage': 'broke'}).encode())\n\
        finish(s, b'Lambda-Runtime-Function-Error-Type: Unhandled\\r\\nLambda-Runtime-Function-Error-Body: ' + error + b'\\r\\n')\n\
        id, event, _ = next_event()\ns = begin(id, 'application/octet-stream')\nchunk(s, b'half')\ns.close()\nnext_event()\n";
    world.bootstrap(&format!("{STREAM}{body}"));
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let stream = bridge.invoke("1");
    let began = Instant::now();
    assert_eq!(bridge.next_of(stream).kind, wire::HEAD);
    assert_eq!(bridge.next_of(stream).payload, b"first");
    assert!(began.elapsed() < Duration::from_millis(400));
    assert_eq!(bridge.outcome(stream).text(), "second");
    let outcome = bridge.call("2");
    assert_eq!((outcome.body.as_slice(), outcome.error()), (&b"part"[..], ("Oops".to_string(), "broke".to_string())));
    let outcome = bridge.call("3");
    assert_eq!((outcome.body.as_slice(), outcome.error().0.as_str()), (&b"half"[..], "Runtime.TruncatedResponse"));
}

#[test]
fn a_reader_that_takes_nothing_stops_the_program_and_costs_little_memory() {
    let Some(world) = World::new() else { return };
    let body = "id, event, _ = next_event()\ns = begin(id, 'application/octet-stream')\n\
        for number in range(800):\n  chunk(s, bytes([number % 256]) * 65536)\n  say('sent', '.')\nfinish(s)\nnext_event()\n";
    world.bootstrap(&format!("{STREAM}{body}"));
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let stream = bridge.invoke("1");
    assert_eq!(bridge.next_of(stream).kind, wire::HEAD);
    let mut got = 0;
    while got < wire::WINDOW_BYTES {
        got += bridge.next_of(stream).payload.len();
    }
    assert!(bridge.is_silent(500), "more than the window came");
    let sent = world.out("sent").len();
    assert!(sent < 200, "the program wrote on: {sent} chunks");
    let resident = bridge.resident_kib();
    println!("with a stream that waits: {resident} KiB, {sent} chunks of 64 KiB written");
    assert!(resident < 1_536, "{resident} KiB");
    bridge.send(wire::CREDIT, 0, stream, &(got as u32).to_be_bytes());
    assert_eq!(got + bridge.outcome(stream).body.len(), 800 * 65_536);
}

#[test]
fn cancel_lets_a_stream_run_into_the_void_and_the_program_serve_on() {
    let Some(world) = World::new() else { return };
    let body = "id, event, _ = next_event()\ns = begin(id, 'application/octet-stream')\n\
        for number in range(100): chunk(s, b'x' * 65536)\nfinish(s)\nid, event, _ = next_event()\npost(f'invocation/{id}/response', event)\n";
    world.bootstrap(&format!("{STREAM}{body}\nnext_event()\n"));
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let stream = bridge.invoke("1");
    assert_eq!(bridge.next_of(stream).kind, wire::HEAD);
    bridge.send(wire::CANCEL, 0, stream, br#"{"reason":"gone"}"#);
    bridge.outcome(stream);
    assert_eq!(bridge.call("2").text(), "2");
}
