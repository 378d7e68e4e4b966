use crate::rig::World;
use serde_json::{json, Value};

/// The failure that comes instead of READY.
fn refused(world: &World, changes: Value) -> (String, String) {
    let mut bridge = world.boot();
    let failure = bridge.start(changes).unwrap_err();
    assert_eq!(failure["phase"], "code_load");
    let text = |name: &str| failure[name].as_str().unwrap().to_string();
    (text("errorType"), text("errorMessage"))
}

fn pair(error_type: &str, message: &str) -> (String, String) {
    (error_type.to_string(), message.to_string())
}

#[test]
fn a_program_that_is_not_there_or_cannot_run_is_named() {
    let Some(world) = World::new() else { return };
    let message = "There is no /var/task/bootstrap and no /opt/bootstrap: put the program there, or set \"command\".";
    assert_eq!(refused(&world, json!({})), pair("Runtime.InvalidEntrypoint", message));
    world.file("task/bootstrap", "#!/bin/sh\n", 0o644);
    let message = "Cannot start \"/var/task/bootstrap\": it is not executable: give it mode 755 before it is packed.";
    assert_eq!(refused(&world, json!({})), pair("Runtime.InvalidEntrypoint", message));
    let message = "Cannot start \"nothing\": there is no such file in PATH.";
    assert_eq!(refused(&world, json!({ "command": ["nothing"] })), pair("Runtime.InvalidEntrypoint", message));
    world.file("task/hearth-bootstrap", "text", 0o755);
    let message =
        "Cannot start \"/var/task/hearth-bootstrap\": it is neither a program nor a script that begins with #!.";
    assert_eq!(refused(&world, json!({})), pair("Runtime.InvalidEntrypoint", message));
}

#[test]
fn a_program_that_ends_before_it_asks_is_told_with_its_code() {
    let Some(world) = World::new() else { return };
    world.file("task/bootstrap", "#!/bin/sh\nexit 7\n", 0o755);
    let message = "\"/var/task/bootstrap\" ended with exit code 7 before it asked for its first invocation.";
    assert_eq!(refused(&world, json!({})), pair("Runtime.ExitError", message));
    world.file("task/bootstrap", "#!/usr/bin/env sh\r\nexit 0\r\n", 0o755);
    let message = "\"/var/task/bootstrap\" ended with exit code 127 before it asked for its first invocation. Its lines end in CRLF: save it with LF.";
    assert_eq!(refused(&world, json!({})), pair("Runtime.ExitError", message));
    world.file("task/bootstrap", "#!/bin/sh\nkill -SEGV $$\n", 0o755);
    let message = "\"/var/task/bootstrap\" was ended by SIGSEGV before it asked for its first invocation.";
    assert_eq!(refused(&world, json!({})), pair("Runtime.ExitError", message));
    world.bootstrap("next_event()\n").file("opt/extensions/broken", "#!/bin/sh\nexit 4\n", 0o755);
    let message = "\"/opt/extensions/broken\" ended with exit code 4 before it asked for its first invocation.";
    assert_eq!(refused(&world, json!({})), pair("Runtime.ExitError", message));
}

#[test]
fn an_init_error_is_what_the_program_says_it_is() {
    let Some(world) = World::new() else { return };
    world.bootstrap(
        "first = post('init/error', json.dumps({'errorType': 'Runtime.ImportModuleError', 'errorMessage': 'no module', 'stackTrace': []}))\n\
         say('first', str(first[0]))\nsys.exit(1)\n",
    );
    assert_eq!(refused(&world, json!({})), pair("Runtime.ImportModuleError", "no module"));
}

#[test]
fn a_program_that_ends_during_an_invocation_takes_the_bridge_along_with_its_code() {
    let Some(world) = World::new() else { return };
    world.bootstrap("next_event()\nos._exit(42)\n");
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    bridge.invoke("1");
    assert_eq!(bridge.ended(), 42);
    world.bootstrap("next_event()\nos.kill(os.getpid(), 9)\n");
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    bridge.invoke("1");
    assert_eq!(bridge.ended(), -9);
}

#[test]
fn what_a_hostile_client_sends_costs_it_the_connection_and_nothing_else() {
    let Some(world) = World::new() else { return };
    world.bootstrap(
        "import socket\ndef raw(data):\n  s = socket.create_connection(('127.0.0.1', 9001))\n  s.settimeout(5)\n  \
         try:\n    s.sendall(data)\n    return s.recv(99).split(b' ')[1].decode()\n  except OSError as e: return type(e).__name__\n\
         long = b'GET / HTTP/1.1\\r\\nX: ' + b'y' * 70000 + b'\\r\\n\\r\\n'\n\
         bad = [b'\\x16\\x03\\x01\\r\\n\\r\\n', b'GET / HTTP/1.1\\r\\nno colon\\r\\n\\r\\n', b'POST / HTTP/1.1\\r\\nContent-Length: -1\\r\\n\\r\\n',\n  \
         b'POST / HTTP/1.1\\r\\nContent-Length: 1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n', b'POST / HTTP/1.1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\n', long]\n\
         answers = [raw(data) for data in bad]\nidle = [socket.create_connection(('127.0.0.1', 9001)) for _ in range(100)]\n\
         id, event, _ = next_event()\npost(f'invocation/{id}/response', json.dumps(answers))\nnext_event()\n",
    );
    let mut bridge = world.boot();
    bridge.start(json!({})).unwrap();
    let answers = bridge.call("1").json();
    for (index, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert!(
            matches!(answer.as_str(), Some("400" | "ConnectionResetError" | "BrokenPipeError")),
            "{index}: {answers}"
        );
    }
}
