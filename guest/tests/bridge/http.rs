use crate::rig::{Bridge, World};
use crate::wire;
use serde_json::{json, Value};

const SERVER: &str = r#"#!/usr/bin/env python3
import http.server, json, os, signal, socket, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    dropped = []
    may_end = threading.Event()
    def log_message(self, *_): pass
    def body(self):
        if self.headers.get('transfer-encoding') != 'chunked': return self.rfile.read(int(self.headers.get('content-length', 0)))
        whole = b''
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size); self.rfile.readline()
        self.rfile.readline()
        return whole
    def answer(self, body, status=200, headers={}):
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name, value)
        self.send_header('Content-Length', str(len(body))); self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)
    def do_GET(self):
        raw = self.wfile.write
        if self.path == '/slow': time.sleep(0.3)
        if self.path.startswith('/drop') and len(Handler.dropped) < int(self.path[5:]):
            Handler.dropped.append(self.body()); self.close_connection = True; return
        if self.path == '/chunks':
            raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n')
            for part in (b'data: 1\n\n', b'data: 2\n\n'):
                raw(b'%x\r\n%s\r\n' % (len(part), part)); Handler.may_end.wait()
            return raw(b'0\r\n\r\n')
        if self.path == '/end': Handler.may_end.set()
        if self.path == '/close':
            raw(b'HTTP/1.1 200 OK\r\n\r\nuntil the end'); self.close_connection = True; return
        if self.path == '/empty': raw(b'HTTP/1.1 204 No Content\r\n\r\n'); return
        if self.path == '/bad': raw(b'SMTP ready\r\n\r\n'); self.close_connection = True; return
        if self.path == '/smuggle': raw(b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'); return
        if self.path.startswith('/header'): return self.answer(b'', 200, {'X-Long': 'x' * int(self.path[7:])})
        if self.path == '/short': raw(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'); self.close_connection = True; return
        if self.path == '/big':
            raw(b'HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n')
            for number in range(400): raw(b'x' * 100000); open('/var/out/sent', 'a').write('.')
            return
        if self.headers.get('upgrade') == 'echo':
            raw(b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
            while data := self.connection.recv(999): raw(data.upper())
            self.close_connection = True; return
        told = {'method': self.command, 'path': self.path, 'headers': [[k, v] for k, v in self.headers.items()],
            'body': self.body().decode('latin1'), 'env': dict(os.environ), 'port': self.client_address[1]}
        self.answer(json.dumps(told).encode(), 200, {'X-Own': 'caf\xe9', 'Keep-Alive': 'timeout=5'})
    do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_GET
def end(*_): open('/var/out/end', 'w').write('terminated'); os._exit(0)
signal.signal(signal.SIGTERM, end)
time.sleep(0.1)
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
"#;

fn boot(world: &World) -> Bridge {
    world.file("task/bootstrap", SERVER, 0o755);
    let mut bridge = world.boot();
    // An image's ENV may say what it likes of the port.
    bridge.start(json!({ "contract": "http", "port": 8123, "env": { "PORT": "3000", "K_SERVICE": "own" } })).unwrap();
    bridge
}

fn request(method: &str, target: &str, headers: Value) -> Value {
    json!({ "http": { "method": method, "target": target, "headers": headers } })
}

/// A request without a body.
fn get(bridge: &mut Bridge, target: &str) -> crate::rig::Outcome {
    let stream = bridge.open(request("GET", target, json!([])));
    bridge.send(wire::END, 0, stream, b"");
    bridge.outcome(stream)
}

#[test]
fn a_request_arrives_as_it_was_sent_and_its_answer_comes_back() {
    let Some(world) = World::new() else { return };
    let mut bridge = boot(&world);
    let headers = json!([["host", "example.org"], ["connection", "keep-alive"], ["x-a", "1"], ["x-a", "2"]]);
    let stream = bridge.open(request("PUT", "/a/b?c=%20", headers));
    bridge.send(wire::DATA, wire::FIN, stream, b"body");
    let outcome = bridge.outcome(stream);
    let told = outcome.json();
    assert_eq!((&told["method"], &told["path"], &told["body"]), (&json!("PUT"), &json!("/a/b?c=%20"), &json!("body")));
    let sent = json!([["host", "example.org"], ["x-a", "1"], ["x-a", "2"], ["content-length", "4"]]);
    assert_eq!(told["headers"], sent);
    for (name, value) in [("PORT", "8123"), ("K_SERVICE", "f"), ("K_REVISION", "f-3"), ("K_CONFIGURATION", "f")] {
        assert_eq!(told["env"][name], value, "{name}");
    }
    let head = outcome.head.unwrap();
    assert_eq!(head["status"], 200);
    let headers = head["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["X-Own", "caf\u{e9}"])), "{head}");
    assert!(!headers.iter().any(|pair| pair[0] == "Keep-Alive"), "{head}");
    // A plain invocation.
    let plain = bridge.call("{}").json();
    assert_eq!((&plain["method"], &plain["path"], &plain["body"]), (&json!("POST"), &json!("/"), &json!("{}")));
    bridge.send(wire::SHUTDOWN, 0, 0, br#"{"graceMs":5000}"#);
    assert_eq!(bridge.ended(), 0);
    assert_eq!(world.out("end"), "terminated");
}

/// The server's view of the connection that a request came on.
fn port(outcome: crate::rig::Outcome) -> u64 {
    outcome.json()["port"].as_u64().unwrap()
}

/// All of it within PROVEN_AFTER, or it says nothing: a busy machine gets other goes.
#[test]
fn a_young_connection_is_used_again_by_what_may_be_sent_twice_alone() {
    let Some(world) = World::new() else { return };
    let mut bridge = boot(&world);
    for _ in 0..50 {
        let first = port(get(&mut bridge, "/"));
        let began = std::time::Instant::now();
        let same = port(get(&mut bridge, "/"));
        let second = port(bridge.call("{}"));
        let long = bridge.open(request("PUT", "/", json!([["content-length", "65536"]])));
        bridge.send(wire::DATA, wire::FIN, long, &[b' '; 65536]);
        let third = port(bridge.outcome(long));
        if began.elapsed().as_millis() > 80 {
            bridge = boot(&world);
            continue;
        }
        assert_eq!(same, first, "what may be sent twice, at once");
        assert_ne!(second, first, "the server may be about to close the first");
        assert!(![first, second].contains(&third), "it has too much to be kept for a second time");
        return;
    }
    panic!("Three requests took more than 80 ms, fifty times.");
}

#[test]
fn a_connection_that_has_stayed_open_shows_that_all_may_use_one_again() {
    let Some(world) = World::new() else { return };
    let mut bridge = boot(&world);
    let mut used = vec![port(bridge.call("{}"))];
    // The time itself is the rule: longer than PROVEN_AFTER, shorter than IDLE_AGE_MAX. One that is late for it counts for nothing.
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(150));
        let next = port(bridge.call("{}"));
        if used.contains(&next) {
            assert!(used.contains(&port(bridge.call("{}"))));
            return;
        }
        used.push(next);
    }
    panic!("Each of {used:?} was used once.");
}

#[test]
fn what_a_kept_connection_loses_unanswered_is_sent_once_more_and_then_fails_at_once() {
    let Some(world) = World::new() else { return };
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let mut bridge = boot(&world);
        let began = std::time::Instant::now();
        let mut ask = |path: &str| {
            let headers = if method == "PUT" { json!([["content-length", "6"]]) } else { json!([]) };
            let stream = bridge.open(request(method, path, headers));
            bridge.send(wire::DATA, wire::FIN, stream, if method == "PUT" { b"a body" } else { b"" });
            bridge.outcome(stream)
        };
        assert_eq!(ask("/").head.unwrap()["status"], 200);
        let second = ask("/drop1");
        assert_eq!(second.head.as_ref().unwrap()["status"], 200, "{method}");
        if method == "PUT" {
            assert_eq!(second.json()["body"], "a body");
        }
        assert_eq!(ask("/").head.unwrap()["status"], 200);
        let message = "The server closed the connection before it answered.";
        assert_eq!(ask("/drop9").error(), ("HttpServer.Closed".to_string(), message.to_string()), "{method}");
        assert!(began.elapsed().as_secs() < 3, "{method}: {:?}", began.elapsed());
    }
}

#[test]
fn bodies_of_every_kind_come_back_whole_and_broken_ones_are_told() {
    let Some(world) = World::new() else { return };
    let mut bridge = boot(&world);
    assert_eq!(get(&mut bridge, "/close").text(), "until the end");
    assert_eq!(get(&mut bridge, "/empty").head.unwrap()["status"], 204);
    let stream = bridge.open(request("HEAD", "/x", json!([])));
    bridge.send(wire::END, 0, stream, b"");
    let outcome = bridge.outcome(stream);
    assert_eq!((outcome.body.len(), &outcome.head.unwrap()["status"]), (0, &json!(200)));
    assert_eq!(get(&mut bridge, "/bad").error().0, "HttpServer.BadResponse");
    assert_eq!(get(&mut bridge, "/smuggle").error().0, "HttpServer.BadResponse");
    assert_eq!(get(&mut bridge, "/short").error().0, "HttpServer.Truncated");
    assert_eq!(get(&mut bridge, "/header8192").head.unwrap()["status"], 200);
    let message = "The response's header \"X-Long\" is 8193 bytes long, and at most 8192 are passed on.";
    assert_eq!(get(&mut bridge, "/header8193").error(), ("Runtime.InvalidResponse".to_string(), message.to_string()));
    let stream = bridge.open(request("GET", "/chunks", json!([])));
    bridge.send(wire::END, 0, stream, b"");
    assert_eq!(bridge.next_of(stream).kind, wire::HEAD);
    // It is there while the server still holds the next back.
    assert_eq!(bridge.next_of(stream).payload, b"data: 1\n\n");
    get(&mut bridge, "/end");
    assert_eq!(bridge.outcome(stream).text(), "data: 2\n\n");
}

#[test]
fn requests_run_side_by_side_and_bodies_stream_up() {
    let Some(world) = World::new() else { return };
    let mut bridge = boot(&world);
    let began = std::time::Instant::now();
    let streams: Vec<u32> = (0..8).map(|_| bridge.open(request("GET", "/slow", json!([])))).collect();
    streams.iter().for_each(|stream| bridge.send(wire::END, 0, *stream, b""));
    streams.into_iter().for_each(|stream| assert_eq!(bridge.outcome(stream).json()["path"], "/slow"));
    assert!(began.elapsed().as_millis() < 1_500);
    let stream = bridge.open(request("POST", "/up", json!([])));
    let mut credit = wire::WINDOW_BYTES;
    for _ in 0..32 {
        while credit < 65_536 {
            let frame = bridge.next_of(stream);
            assert_eq!(frame.kind, wire::CREDIT);
            credit += u32::from_be_bytes(frame.payload.try_into().unwrap()) as usize;
        }
        bridge.send(wire::DATA, 0, stream, &[b'u'; 65_536]);
        credit -= 65_536;
    }
    bridge.send(wire::END, 0, stream, b"");
    assert_eq!(bridge.outcome(stream).json()["body"].as_str().unwrap().len(), 32 * 65_536);
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let Some(world) = World::new() else { return };
    let mut bridge = boot(&world);
    let stream = bridge.open(request("GET", "/", json!([["connection", "Upgrade"], ["upgrade", "echo"]])));
    let frame = bridge.next_of(stream);
    let head: Value = serde_json::from_slice(&frame.payload).unwrap();
    assert_eq!((frame.kind, &head["status"]), (wire::HEAD, &json!(101)));
    assert!(head["headers"].as_array().unwrap().contains(&json!(["Upgrade", "echo"])));
    for text in ["one", "two"] {
        bridge.send(wire::DATA, 0, stream, text.as_bytes());
        assert_eq!(bridge.next_of(stream).payload, text.to_uppercase().as_bytes());
    }
    bridge.send(wire::END, 0, stream, b"");
    assert_eq!(bridge.outcome(stream).text(), "");
}

#[test]
fn a_slow_reader_stops_the_server_and_costs_little_memory() {
    let Some(world) = World::new() else { return };
    let mut bridge = boot(&world);
    let stream = bridge.open(request("GET", "/big", json!([])));
    bridge.send(wire::END, 0, stream, b"");
    assert_eq!(bridge.next_of(stream).kind, wire::HEAD);
    let mut got = 0;
    while got < wire::WINDOW_BYTES {
        got += bridge.next_of(stream).payload.len();
    }
    assert!(bridge.is_silent(500));
    let (sent, resident) = (world.out("sent").len(), bridge.resident_kib());
    assert!(sent < 200, "the server wrote on: {sent}");
    assert!(resident < 1_536, "{resident} KiB");
    bridge.send(wire::CREDIT, 0, stream, &(got as u32).to_be_bytes());
    assert_eq!(got + bridge.outcome(stream).body.len(), 40_000_000);
}

#[test]
fn a_server_that_ends_before_it_listens_is_named_with_its_port() {
    let Some(world) = World::new() else { return };
    world.file("task/run.sh", "#!/bin/sh\nexit 5\n", 0o755);
    let mut bridge = world.boot();
    let failure = bridge.start(json!({ "contract": "http" })).unwrap_err();
    let message = "\"/var/task/run.sh\" ended with exit code 5 before it accepted a connection on port 8080.";
    assert_eq!((&failure["errorType"], &failure["errorMessage"]), (&json!("Runtime.ExitError"), &json!(message)));
}
