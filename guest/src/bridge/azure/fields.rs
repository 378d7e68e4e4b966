//! Fields of host.json and function.json, read so that none goes unheard: the error is a sentence about the file.

use serde_json::Value;

/// Every field of `value` is one of `known`.
pub fn only(value: &Value, place: &str, known: &[&str]) -> Result<(), String> {
    let unknown =
        value.as_object().into_iter().flatten().map(|(name, _)| name).find(|name| !known.contains(&name.as_str()));
    match unknown {
        Some(name) => Err(format!("{place}.{name} is not supported")),
        None => Ok(()),
    }
}

/// A text; None without one.
pub fn text<'a>(value: &'a Value, place: &str, name: &str) -> Result<Option<&'a str>, String> {
    match &value[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        _ => Err(format!("{place}.{name} is no text")),
    }
}

/// A list of texts; empty without one.
pub fn texts(value: &Value, place: &str, name: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{place}.{name} is no list of texts");
    match &value[name] {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_string).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// Azure takes `"true"` as well.
pub fn flag(value: &Value, place: &str, name: &str) -> Result<bool, String> {
    match &value[name] {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("{place}.{name} is neither true nor false")),
    }
}
