//! What FAIL says.

use crate::wire::PAYLOAD_MAX;
use serde_json::json;
use std::cell::RefCell;
use std::panic;

const MESSAGE_MAX: usize = 16_384;

/// An error as the caller sees it.
#[derive(Debug, Clone)]
pub struct Failure {
    error_type: String,
    message: String,
    stack: Vec<String>,
}

impl Failure {
    pub fn new(error_type: impl Into<String>, message: &str) -> Failure {
        Failure { error_type: cut(&error_type.into(), 256), message: cut(message, MESSAGE_MAX), stack: Vec::new() }
    }

    /// Shortened where escapes make it longer than a frame.
    pub fn payload(&self) -> Vec<u8> {
        let text = |message: &str, stack: &[String]| {
            json!({ "errorType": self.error_type, "errorMessage": message, "stackTrace": stack })
                .to_string()
                .into_bytes()
        };
        let whole = text(&self.message, &self.stack);
        if whole.len() <= PAYLOAD_MAX {
            whole
        } else {
            text(&cut(&self.message, 2_048), &[])
        }
    }
}

fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_string();
    }
    let end = (0..=max - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..end])
}

thread_local! {
    static LAST_PANIC: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Keeps what a panic says and where it was, beside what the program's own hook does with it.
pub fn watch_panics(dying: impl Fn(&Failure) + Send + Sync + 'static) {
    let own = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        own(info);
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().map(|text| text.to_string());
        let message =
            message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into());
        let mut failure = Failure::new("panic", &message);
        failure.stack.extend(info.location().map(|place| format!("{place}")));
        if cfg!(panic = "abort") {
            dying(&failure);
        }
        LAST_PANIC.with(|last| *last.borrow_mut() = Some(failure));
    }));
}

pub fn last_panic() -> Failure {
    let last = LAST_PANIC.with(|last| last.borrow_mut().take());
    last.unwrap_or_else(|| Failure::new("panic", "no message"))
}
