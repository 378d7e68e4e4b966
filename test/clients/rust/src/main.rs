//! One handler that answers whole, and one that streams, with lambda_runtime.

use lambda_runtime::{run, service_fn, streaming, Error, LambdaEvent};
use serde_json::{json, Value};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var("_HANDLER")? == "stream" {
        return run(service_fn(stream)).await;
    }
    run(service_fn(whole)).await
}

async fn whole(event: LambdaEvent<Value>) -> Result<Value, Error> {
    if event.payload["fail"] == true {
        return Err(Error::from("on purpose"));
    }
    let function = event.context.env_config.function_name.clone();
    Ok(json!({ "got": event.payload, "id": event.context.request_id, "function": function }))
}

async fn stream(_: LambdaEvent<Value>) -> Result<streaming::Response<streaming::Body>, Error> {
    let (mut sender, body) = streaming::channel();
    tokio::spawn(async move {
        for number in 0..3 {
            let _ = sender.send_data(format!("part {number};").into()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    Ok(streaming::Response::from(body))
}
