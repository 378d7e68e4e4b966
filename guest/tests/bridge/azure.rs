use crate::rig::World;
use crate::wire;
use serde_json::{json, Value};

const HANDLER: &str = r#"#!/usr/bin/env python3
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_GET(self): self.do_POST()
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('content-length', 0)))
        if sys.argv[1] == 'forward': answer, status = {'path': self.path, 'body': body.decode()}, 200
        else:
            asked = json.loads(body)
            data = asked['Data']['req']
            status = 500 if data['Body'] == 'fail' else 200
            answer = {'Logs': ['a line'], 'Outputs': {'res': {'statusCode': 201, 'headers': {'X-A': '1'}, 'body': json.dumps([self.path, data, asked['Metadata']['sys']['MethodName']])}}}
            if data['Body'] == 'cwd': answer = {'ReturnValue': [os.getcwd(), sys.argv]}
            if data['Body'] == 'value': answer = {'Logs': None, 'Outputs': None, 'ReturnValue': {'n': 1}}
        text = json.dumps(answer).encode()
        self.send_response(status); self.send_header('Content-Length', str(len(text))); self.end_headers(); self.wfile.write(text)
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['FUNCTIONS_CUSTOMHANDLER_PORT'])), Handler).serve_forever()
"#;

fn world(forwards: bool) -> Option<World> {
    let world = World::new()?;
    describe(&world, forwards, json!({}), json!({}));
    Some(world)
}

/// `host` is put into host.json, `trigger` into the trigger of function.json.
fn describe(world: &World, forwards: bool, host: Value, trigger: Value) {
    let arguments = if forwards { "forward" } else { "wrap" };
    let description = json!({ "defaultExecutablePath": "handler", "arguments": [arguments] });
    let custom = json!({ "description": description, "enableForwardingHttpRequest": forwards });
    let mut whole = json!({ "version": "2.0", "customHandler": custom });
    host.as_object().unwrap().iter().for_each(|(name, value)| whole[name] = value.clone());
    world.file("task/host.json", &whole.to_string(), 0o644);
    let mut own = json!({ "type": "httpTrigger", "direction": "in", "name": "req" });
    trigger.as_object().unwrap().iter().for_each(|(name, value)| own[name] = value.clone());
    let bindings = json!([own, { "type": "http", "direction": "out", "name": "res" }]);
    world.file("task/hello/function.json", &json!({ "bindings": bindings }).to_string(), 0o644);
    world.file("task/handler", HANDLER, 0o755);
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
    assert_eq!(
        refused(),
        "Cannot use \"/var/task/host.json\": customHandler.description.defaultExecutablePath is missing."
    );
}

#[test]
fn route_methods_and_prefix_say_what_is_for_the_function_and_the_query_comes_decoded() {
    let Some(world) = World::new() else { return };
    let prefix = json!({ "extensions": { "http": { "routePrefix": "v1" } } });
    describe(&world, false, prefix, json!({ "route": "orders/{kind:alpha}/{id?}", "methods": ["get", "post"] }));
    let mut bridge = world.boot();
    bridge.start(json!({ "contract": "azure" })).unwrap();
    let mut ask = |method: &str, target: &str| {
        let stream = bridge.open(json!({ "http": { "method": method, "target": target, "headers": [] } }));
        bridge.send(wire::END, 0, stream, b"");
        let log = bridge.next_of(stream);
        assert_eq!(log.kind, wire::LOG);
        (String::from_utf8(log.payload).unwrap(), bridge.outcome(stream))
    };
    let (_, taken) = ask("GET", "/v1/orders/new/caf%C3%A9?name=John%20Doe&q=a+b&q=c");
    let told = taken.json()[1].clone();
    assert_eq!(told["Params"], json!({ "kind": "new", "id": "caf\u{e9}" }));
    assert_eq!(told["Query"], json!({ "name": "John Doe", "q": "a b,c" }));
    for (method, target) in [("PUT", "/v1/orders/new"), ("GET", "/api/orders/new"), ("GET", "/v1/orders/7")] {
        let (log, outcome) = ask(method, target);
        assert_eq!(outcome.head.as_ref().unwrap()["status"], 404, "{method} {target}");
        assert_eq!(outcome.text(), "");
        let why = "404, the route and methods of function.json do not take it.";
        assert_eq!(log, format!("{method} {target}: {why}\n"));
    }
    // The handler is there still.
    assert_eq!(ask("POST", "/v1/orders/old").1.json()[1]["Params"], json!({ "kind": "old" }));
}

#[test]
fn a_worker_gets_its_path_behind_the_arguments_and_its_working_folder() {
    let Some(world) = world(false) else { return };
    world.file("task/bin/worker.py", HANDLER, 0o644);
    let description = json!({ "defaultExecutablePath": "python3", "defaultWorkerPath": "bin/worker.py", "workerArguments": ["wrap"],
        "arguments": ["-u"], "workingDirectory": "bin" });
    describe(&world, false, json!({ "customHandler": { "description": description } }), json!({}));
    let mut bridge = world.boot();
    bridge.start(json!({ "contract": "azure" })).unwrap();
    assert_eq!(bridge.call("cwd").json(), json!(["/var/task/bin", ["/var/task/bin/worker.py", "wrap"]]));
}

#[test]
fn an_event_for_a_forwarding_function_needs_a_route_that_asks_for_nothing() {
    let Some(world) = World::new() else { return };
    describe(
        &world,
        true,
        json!({ "extensions": { "http": { "routePrefix": "" } } }),
        json!({ "route": "orders/{id?}" }),
    );
    let boot = || {
        let mut bridge = world.boot();
        bridge.start(json!({ "contract": "azure" })).unwrap();
        bridge
    };
    assert_eq!(boot().call("1").json()["path"], "/orders");
    describe(&world, true, json!({}), json!({ "route": "orders/{id}" }));
    let message = "An event has no value for {id} of the function's route: send it a request by its URL.";
    assert_eq!(boot().call("1").error(), ("HttpServer.BadRequest".to_string(), message.to_string()));
}

#[test]
fn what_is_not_supported_is_refused_by_its_name() {
    let Some(world) = World::new() else { return };
    let refused = |host: Value, trigger: Value| {
        describe(&world, false, host, trigger);
        let failure = world.boot().start(json!({ "contract": "azure" })).unwrap_err();
        failure["errorMessage"].as_str().unwrap().to_string()
    };
    let of_host = |why: &str| format!("Cannot use \"/var/task/host.json\": {why}.");
    let description = json!({ "defaultExecutablePath": "handler" });
    let routes = json!({ "customHandler": { "description": description, "http": { "routes": [] } } });
    assert_eq!(refused(routes, json!({})), of_host("customHandler.http is not supported"));
    let headers = json!({ "extensions": { "http": { "customHeaders": {} } } });
    assert_eq!(refused(headers, json!({})), of_host("extensions.http.customHeaders is not supported"));
    let old = json!({ "http": { "routePrefix": "" } });
    assert_eq!(
        refused(old, json!({})),
        of_host("http is not supported: since version 2.0 its place is extensions.http")
    );
    let why = "the httpTrigger.webHookType is not supported";
    let message = refused(json!({}), json!({ "webHookType": "genericJson" }));
    assert_eq!(message, format!("Cannot use \"/var/task/hello/function.json\": {why}."));
}
