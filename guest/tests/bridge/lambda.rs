use crate::rig::World;
use crate::wire;
use serde_json::{json, Value};

#[test]
fn the_runtime_api_gives_events_with_their_headers_and_takes_results() {
    let Some(world) = World::new() else { return };
    world.bootstrap(
        "while True:\n  id, event, answer = next_event()\n  headers = {k.lower(): v for k, v in answer.getheaders()}\n  \
         body = json.dumps({'event': json.loads(event), 'headers': headers, 'env': dict(os.environ), 'cwd': os.getcwd()})\n  \
         status, text = post(f'invocation/{id}/response', body)\n  assert (status, text) == (202, b'{\"status\":\"OK\"}\\n'), (status, text)\n",
    );
    let mut bridge = world.boot();
    bridge.start(json!({ "env": { "OWN": "1", "TZ": "Europe/Berlin" } })).unwrap();
    let stream = bridge.open(json!({ "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "contentType": "text/plain" }));
    bridge.send(wire::DATA, wire::FIN, stream, b"{\"a\":1}");
    let outcome = bridge.outcome(stream);
    assert_eq!(outcome.head, None);
    let told = outcome.json();
    assert_eq!((&told["event"], &told["cwd"]), (&json!({ "a": 1 }), &json!("/var/task")));
    let headers = &told["headers"];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["lambda-runtime-aws-request-id"], "id-1");
    assert_eq!(headers["lambda-runtime-deadline-ms"], "9999999999999");
    assert_eq!(headers["lambda-runtime-invoked-function-arn"], "arn:aws:lambda:local:000000000000:function:f");
    assert_eq!(
        headers["lambda-runtime-trace-id"],
        "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1"
    );
    let wanted = [
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("_HANDLER", "index.handler"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "3"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/hearth/f"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "s"),
        ("AWS_REGION", "local"),
        ("AWS_DEFAULT_REGION", "local"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("HEARTH_API_URL", "http://127.0.0.1:9010"),
        ("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9010"),
        ("OWN", "1"),
        ("TZ", "Europe/Berlin"),
        ("HOME", "/tmp"),
    ];
    for (name, value) in wanted {
        assert_eq!(told["env"][name], value, "{name}");
    }
    assert_eq!(told["env"]["HEARTH_EPOCH"], Value::Null);
    for number in 0..200 {
        assert_eq!(bridge.call(&number.to_string()).json()["event"], number);
    }
}

#[test]
fn events_and_results_of_megabytes_pass_by_credit() {
    let Some(world) = World::new() else { return };
    world.bootstrap("while True:\n  id, event, _ = next_event()\n  post(f'invocation/{id}/response', event)\n");
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let body: Vec<u8> = (0..5_000_000u32).map(|number| (number % 251) as u8).collect();
    let stream = bridge.open(json!({}));
    let mut credit = wire::WINDOW_BYTES;
    let mut sent = 0;
    while sent < body.len() {
        while credit == 0 {
            let frame = bridge.next_of(stream);
            assert_eq!(frame.kind, wire::CREDIT);
            credit += u32::from_be_bytes(frame.payload.try_into().unwrap()) as usize;
        }
        let count = (body.len() - sent).min(credit).min(wire::PAYLOAD_BYTES_MAX);
        bridge.send(wire::DATA, 0, stream, &body[sent..sent + count]);
        (credit, sent) = (credit - count, sent + count);
    }
    bridge.send(wire::END, 0, stream, b"");
    assert!(bridge.outcome(stream).body == body);
}

#[test]
fn an_event_beyond_the_window_that_comes_with_bind_gets_its_credit_after_ready() {
    let Some(world) = World::new() else { return };
    world.bootstrap(
        "while True:\n  id, event, _ = next_event()\n  post(f'invocation/{id}/response', str(len(event)))\n",
    );
    let mut bridge = world.boot();
    bridge.bind(json!({}));
    let stream = bridge.open(json!({}));
    for _ in 0..4 {
        bridge.send(wire::DATA, 0, stream, &[b'1'; 65_536]);
    }
    bridge.expect(wire::READY);
    assert_eq!(bridge.next_of(stream).kind, wire::CREDIT);
    bridge.send(wire::DATA, wire::FIN, stream, b"1");
    assert_eq!(bridge.outcome(stream).text(), "262145");
}

#[test]
fn errors_of_each_shape_are_failures_and_the_program_serves_on() {
    let Some(world) = World::new() else { return };
    world.bootstrap(
        "while True:\n  id, event, _ = next_event()\n  \
         post(f'invocation/{id}/error', event, {'Lambda-Runtime-Function-Error-Type': 'Runtime.Header'})\n",
    );
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let outcome = bridge.call(r#"{"errorType":"TypeError","errorMessage":"bad","stackTrace":["a","b"]}"#);
    assert_eq!(outcome.error(), ("TypeError".to_string(), "bad".to_string()));
    assert_eq!(outcome.failure.unwrap()["stackTrace"], json!(["a", "b"]));
    assert_eq!(bridge.call("no json").error(), ("Runtime.Header".to_string(), "no json".to_string()));
    assert_eq!(bridge.call(r#"{"errorMessage":"x"}"#).error(), ("Runtime.Header".to_string(), "x".to_string()));
}

#[test]
fn the_runtime_api_refuses_by_lambdas_own_answers() {
    let Some(world) = World::new() else { return };
    world.bootstrap(
        "early, text = post('invocation/none/response', b'1')\nid, event, _ = next_event()\n\
         wrong = post('invocation/none/response', b'1')\nmode = post(f'invocation/{id}/response', b'1', {'Lambda-Runtime-Function-Response-Mode': 'odd'})\n\
         late = post('init/error', b'{}')\ngone, _ = call('GET', '/no/such/path')\n\
         answers = [[early, json.loads(text)['errorType']]] + [[s, json.loads(t)['errorType']] for s, t in (wrong, mode, late)] + [gone.status]\n\
         post(f'invocation/{id}/response', json.dumps(answers))\nagain = post(f'invocation/{id}/response', b'1')[0]\n\
         id, event, _ = next_event()\nbig = post(f'invocation/{id}/response', b'x' * 6291557)\n\
         api.close()\nid, event, _ = next_event()\npost(f'invocation/{id}/response', json.dumps([again, big[0], json.loads(big[1])]))\nnext_event()\n",
    );
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let wanted = json!([
        [403, "InvalidStateTransition"],
        [400, "InvalidRequestID"],
        [400, "InvalidFunctionResponseMode"],
        [403, "InvalidStateTransition"],
        404,
    ]);
    assert_eq!(bridge.call("1").json(), wanted);
    let message = "Exceeded maximum allowed payload size (6291556 bytes).";
    assert_eq!(bridge.call("2").error(), ("Function.ResponseSizeTooLarge".to_string(), message.to_string()));
    let told = bridge.call("3").json();
    assert_eq!(told, json!([400, 413, { "errorType": "RequestEntityTooLarge", "errorMessage": message }]));
}

#[test]
fn extensions_hear_of_invocations_work_on_after_them_and_of_the_end() {
    let Some(world) = World::new() else { return };
    world.bootstrap("while True:\n  id, event, _ = next_event()\n  post(f'invocation/{id}/response', event)\n");
    world.file("opt/extensions/beside", EXTENSION, 0o755);
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    for round in 0..2 {
        let stream = bridge.invoke("1");
        let outcome = bridge.outcome(stream);
        assert_eq!((outcome.text(), outcome.flags), ("1".to_string(), wire::FIN | wire::OPEN_WORK), "{round}");
        assert_eq!(bridge.next_of(stream).kind, wire::IDLE);
    }
    bridge.send(wire::SHUTDOWN, 0, 0, br#"{"graceMs":10000}"#);
    assert_eq!(bridge.ended(), 0);
    let lines: Vec<Value> = world.out("events").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(
        lines[0],
        json!({ "functionName": "f", "functionVersion": "3", "handler": "index.handler", "accountId": "000000000000" })
    );
    assert_eq!((&lines[1]["eventType"], &lines[1]["requestId"]), (&json!("INVOKE"), &json!("id-1")));
    assert_eq!((&lines[3]["eventType"], &lines[3]["shutdownReason"]), (&json!("SHUTDOWN"), &json!("spindown")));
    assert_eq!(world.out("refused"), "403 Extension.UnknownExtensionIdentifier");
}

const EXTENSION: &str = r#"#!/usr/bin/env python3
import http.client, json, os, time
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def call(method, path, body=None, headers={}):
    api.request(method, '/2020-01-01/extension/' + path, body, headers)
    answer = api.getresponse()
    return answer, answer.read().decode()
answer, body = call('POST', 'register', json.dumps({'events': ['INVOKE', 'SHUTDOWN']}), {'Lambda-Extension-Name': 'beside'})
me = {'Lambda-Extension-Identifier': answer.getheader('Lambda-Extension-Identifier')}
stranger = {'Lambda-Extension-Identifier': '00000000-0000-4000-8000-000000000000'}
refused, text = call('GET', 'event/next', None, stranger)
open('/var/out/refused', 'w').write(f"{refused.status} {json.loads(text)['errorType']}")
while True:
    open('/var/out/events', 'a').write(body.strip() + '\n')
    if 'SHUTDOWN' in body: break
    time.sleep(0.1)
    _, body = call('GET', 'event/next', None, me)
"#;

#[test]
fn a_warm_invocation_takes_a_fraction_of_a_millisecond() {
    let Some(world) = World::new() else { return };
    // Without http.client, whose own time is of no interest here.
    world.file("task/bootstrap", RAW_CLIENT, 0o755);
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let mut times: Vec<u128> = Vec::new();
    for _ in 0..500 {
        let began = std::time::Instant::now();
        assert_eq!(bridge.call("{}").text(), "{}");
        times.push(began.elapsed().as_micros());
    }
    times.sort_unstable();
    println!("warm p50 {} us, p99 {} us", times[250], times[495]);
    // A loose bound, for a busy machine: what is promised is measured elsewhere.
    assert!(times[250] < 5_000, "{} us", times[250]);
}

const RAW_CLIENT: &str = r#"#!/usr/bin/env python3
import socket
api = socket.create_connection(('127.0.0.1', 9001))
api.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while True:
    api.sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n')
    head, _, event = api.recv(65536).partition(b'\r\n\r\n')
    id = head.split(b'Request-Id: ')[1].split(b'\r\n')[0]
    api.sendall(b'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (id, len(event), event))
    api.recv(65536)
"#;
