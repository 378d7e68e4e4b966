//! Code, layers and cache that appear in a running sandbox.

use crate::support::Platform;
use serde_json::json;
use std::fs;

pub fn bind(platform: &mut Platform) {
    platform.write("code/index.txt", "my code");
    fs::create_dir_all(format!("{}/cache", platform.folder)).unwrap();
    platform.write("cache/index.bin", "my cache");
    let mut sandbox = platform.spawn("i-1", "read");
    sandbox.wait_for(b'e');
    let mut fields = platform.bind_fields("i-1");
    fields["cache"] = json!(format!("{}/cache", platform.folder));
    assert_eq!(platform.ask("bind", json!({ "instance": "i-2" }))["step"], "request");
    let mut broken = fields.clone();
    broken["cache"] = json!("/does/not/exist");
    let reply = platform.ask("bind", broken);
    assert_eq!(reply["error"], "Cannot open \"/does/not/exist\": No such file or directory.");
    platform.must("bind", fields.clone());
    let again = platform.ask("bind", fields);
    assert_eq!(again["error"], "Instance \"i-1\" is bound already.");
    sandbox.tell();
    assert_eq!(sandbox.rest(), "my code my cache EROFS EROFS EROFS\n");
}

pub fn layers(platform: &mut Platform) {
    platform.write("layer1/a", "one");
    platform.write("layer1/b", "one");
    platform.write("layer2/b", "two");
    for (id, names, wanted) in [("i-1", vec!["layer1"], "one one"), ("i-2", vec!["layer1", "layer2"], "one two")] {
        let mut sandbox = platform.spawn(id, "read layers");
        let mut fields = platform.bind_fields(id);
        fields["layers"] = names.iter().map(|name| json!(format!("{}/{name}", platform.folder))).collect();
        platform.must("bind", fields);
        sandbox.tell();
        assert_eq!(sandbox.rest(), format!("{wanted} EROFS\n"));
        platform.event();
    }
}
