use crate::rig::World;
use crate::wire;
use serde_json::json;

const HANDLER: &str = r#"#!/usr/bin/env python3
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        if sys.argv[1] == 'forward': answer, status = {'path': self.path, 'body': body.decode()}, 200
        else:
            asked = json.loads(body)
            data = asked['Data']['req']
            status = 500 if data['Body'] == 'fail' else 200
            answer = {'Logs': ['a line'], 'Outputs': {'res': {'statusCode': 201, 'headers': {'X-A': '1'}, 'body': json.dumps([self.path, data, asked['Metadata']['sys']['MethodName']])}}}
            if data['Body'] == 'value': answer = {'Logs': None, 'Outputs': None, 'ReturnValue': {'n': 1}}
        text = json.dumps(answer).encode()
        self.send_response(status); self.send_header('Content-Length', str(len(text))); self.end_headers(); self.wfile.write(text)
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['FUNCTIONS_CUSTOMHANDLER_PORT'])), Handler).serve_forever()
"#;

fn world(forwards: bool) -> Option<World> {
    let world = World::new()?;
    let arguments = if forwards { "forward" } else { "wrap" };
    let description = json!({ "defaultExecutablePath": "handler", "arguments": [arguments] });
    let custom = json!({ "description": description, "enableForwardingHttpRequest": forwards });
    world.file("task/host.json", &json!({ "version": "2.0", "customHandler": custom }).to_string(), 0o644);
    let bindings = json!([{ "type": "httpTrigger", "direction": "in", "name": "req" }, { "type": "http", "direction": "out", "name": "res" }]);
    world.file("task/hello/function.json", &json!({ "bindings": bindings }).to_string(), 0o644);
    world.file("task/handler", HANDLER, 0o755);
    Some(world)
}

#[test]
fn a_custom_handler_gets_data_and_metadata_and_gives_outputs_logs_and_a_return_value() {
    let Some(world) = world(false) else { return };
    let mut bridge = world.boot();
    bridge.start(json!({ "contract": "azure" })).unwrap();
    let stream =
        bridge.open(json!({ "http": { "method": "PUT", "target": "/api/hello?a=b", "headers": [["x", "y"]] } }));
    bridge.send(wire::DATA, wire::FIN, stream, b"text");
    let log = bridge.next_of(stream);
    assert_eq!((log.kind, log.payload.as_slice()), (wire::LOG, &b"a line\n"[..]));
    let outcome = bridge.outcome(stream);
    assert_eq!(outcome.head, Some(json!({ "status": 201, "headers": [["X-A", "1"]] })));
    let told = outcome.json();
    assert_eq!((&told[0], &told[2]), (&json!("/hello"), &json!("hello")));
    assert_eq!(
        (&told[1]["Method"], &told[1]["Body"], &told[1]["Query"]),
        (&json!("PUT"), &json!("text"), &json!({ "a": "b" }))
    );
    assert_eq!(told[1]["Headers"], json!({ "x": ["y"] }));
    assert_eq!(bridge.call("value").json(), json!({ "n": 1 }));
    assert_eq!(bridge.call("fail").error().0, "HttpServer.HandlerFailed");
}

#[test]
fn with_forwarding_requests_arrive_as_they_are() {
    let Some(world) = world(true) else { return };
    let mut bridge = world.boot();
    bridge.start(json!({ "contract": "azure" })).unwrap();
    assert_eq!(bridge.call("1").json(), json!({ "path": "/api/hello", "body": "1" }));
}

#[test]
fn what_host_json_lacks_is_named() {
    let Some(world) = World::new() else { return };
    let refused = || world.boot().start(json!({ "contract": "azure" })).unwrap_err()["errorMessage"].clone();
    assert!(refused().as_str().unwrap().starts_with("Cannot read \"/var/task/host.json\": "));
    world.file("task/host.json", "{}", 0o644);
    assert_eq!(refused(), "\"/var/task/host.json\" has no customHandler.description.defaultExecutablePath.");
}
