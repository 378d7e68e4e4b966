//! What counts as a handler: `fn(event, Context)`, `fn(event)` or `fn()`, plain or async, with a Result.

use crate::{Context, Failure, Stream};
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::any::{type_name, Any, TypeId};
use std::fmt::Display;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// What goes back to the caller.
pub enum Answer {
    Json(Vec<u8>),
    Bytes(Vec<u8>),
    Stream(Stream),
}

/// Runs futures. `Parked` needs no other crate; a program that uses tokio brings its own.
pub trait Executor {
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

/// Polls on this thread, which sleeps until the future's waker wakes it.
pub struct Parked;

struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Executor for Parked {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unparker(thread::current())));
        let mut context = task::Context::from_waker(&waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }
}

pub struct Plain;
pub struct Async;

/// What a handler returns: a Result, or a future of one. `Kind` tells the two apart for the compiler.
pub trait Outcome<Kind> {
    fn answer(self, executor: &impl Executor) -> Result<Answer, Failure>;
}

impl<T: Serialize + 'static, E: Display> Outcome<Plain> for Result<T, E> {
    fn answer(self, _executor: &impl Executor) -> Result<Answer, Failure> {
        answer_of(self)
    }
}

impl<F: Future<Output = Result<T, E>>, T: Serialize + 'static, E: Display> Outcome<Async> for F {
    fn answer(self, executor: &impl Executor) -> Result<Answer, Failure> {
        answer_of(executor.block_on(self))
    }
}

fn answer_of<T: Serialize + 'static, E: Display>(result: Result<T, E>) -> Result<Answer, Failure> {
    let value = result.map_err(|error| Failure::new(short_name(type_name::<E>()), &error.to_string()))?;
    let is = |wanted: TypeId| TypeId::of::<T>() == wanted;
    if is(TypeId::of::<Vec<u8>>()) || is(TypeId::of::<Stream>()) {
        let any: Box<dyn Any> = Box::new(value);
        return Ok(match any.downcast::<Stream>() {
            Ok(stream) => Answer::Stream(*stream),
            Err(any) => Answer::Bytes(any.downcast::<Vec<u8>>().map(|bytes| *bytes).unwrap_or_default()),
        });
    }
    serde_json::to_vec(&value)
        .map(Answer::Json)
        .map_err(|error| Failure::new("Runtime.MarshalError", &format!("The result has no JSON: {error}.")))
}

/// `alloc::boxed::Box<dyn core::error::Error>` -> `Box<dyn Error>`.
fn short_name(name: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for character in name.chars() {
        if character == ':' {
            word.clear();
        } else if character.is_alphanumeric() || character == '_' {
            word.push(character);
        } else {
            short.push_str(&word);
            short.push(character);
            word.clear();
        }
    }
    short + &word
}

/// A function that can be called with an event. `Shape` tells the forms apart for the compiler.
pub trait Handler<Shape> {
    fn call(&self, event: Vec<u8>, context: Context, executor: &impl Executor) -> Result<Answer, Failure>;
}

impl<F, E, R, K> Handler<((E, Context), R, K)> for F
where
    F: Fn(E, Context) -> R,
    E: DeserializeOwned + 'static,
    R: Outcome<K>,
{
    fn call(&self, event: Vec<u8>, context: Context, executor: &impl Executor) -> Result<Answer, Failure> {
        self(event_of(event, &context)?, context).answer(executor)
    }
}

impl<F, E, R, K> Handler<((E,), R, K)> for F
where
    F: Fn(E) -> R,
    E: DeserializeOwned + 'static,
    R: Outcome<K>,
{
    fn call(&self, event: Vec<u8>, context: Context, executor: &impl Executor) -> Result<Answer, Failure> {
        self(event_of(event, &context)?).answer(executor)
    }
}

impl<F, R, K> Handler<((), R, K)> for F
where
    F: Fn() -> R,
    R: Outcome<K>,
{
    fn call(&self, _event: Vec<u8>, _context: Context, executor: &impl Executor) -> Result<Answer, Failure> {
        self().answer(executor)
    }
}

/// `Vec<u8>` gets the bytes as they came, everything else is read from JSON.
fn event_of<E: DeserializeOwned + 'static>(event: Vec<u8>, context: &Context) -> Result<E, Failure> {
    if TypeId::of::<E>() == TypeId::of::<Vec<u8>>() {
        let any: Box<dyn Any> = Box::new(event);
        return any
            .downcast::<E>()
            .map(|bytes| *bytes)
            .map_err(|_| Failure::new("Runtime.UnmarshalError", "No bytes."));
    }
    let unfit = |why: String| Failure::new("Runtime.UnmarshalError", &why);
    let media = context.content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if !(media.is_empty() || media == "application/json" || media.ends_with("+json")) {
        let wanted = short_name(type_name::<E>());
        return Err(unfit(format!("An event of type \"{media}\" can be given as Vec<u8>, not as {wanted}.")));
    }
    let text: &[u8] = if event.iter().all(u8::is_ascii_whitespace) { b"{}" } else { &event };
    serde_json::from_slice(text).map_err(|error| unfit(format!("The event does not fit: {error}.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_keep_no_path() {
        assert_eq!(short_name("alloc::boxed::Box<dyn core::error::Error + a::B>"), "Box<dyn Error + B>");
        assert_eq!(short_name("image::Failed"), "Failed");
    }

    #[test]
    fn parked_waits_for_a_waker_of_another_thread() {
        let mut is_asked = false;
        let answer = Parked.block_on(std::future::poll_fn(move |context| {
            if is_asked {
                return Poll::Ready(7);
            }
            is_asked = true;
            let waker = context.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        }));
        assert_eq!(answer, 7);
    }
}
