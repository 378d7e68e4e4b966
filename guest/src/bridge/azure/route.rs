//! The route of an HTTP trigger, as function.json has it: `orders/{category:alpha}/{id:int?}`, `files/{*path}`.

use crate::bridge::http::percent_decoded;
use serde_json::{json, Map, Value};

/// What a `{parameter}` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Int,
    Long,
    Bool,
    Alpha,
    Guid,
}

const KINDS: [(&str, Kind); 5] =
    [("int", Kind::Int), ("long", Kind::Long), ("bool", Kind::Bool), ("alpha", Kind::Alpha), ("guid", Kind::Guid)];

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Parameter {
        name: String,
        kind: Kind,
        is_optional: bool,
    },
    /// `{*rest}`: all that follows, slashes and all.
    Rest(String),
}

/// A path pattern; what comes before it is the prefix of host.json.
#[derive(Debug)]
pub struct Route {
    parts: Vec<Part>,
}

impl Route {
    /// `prefix` is plain text. The error says what of it is not understood.
    pub fn parse(prefix: &str, template: &str) -> Result<Route, String> {
        let segments =
            |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_string).collect::<Vec<_>>();
        let mut parts: Vec<Part> = segments(prefix).into_iter().map(Part::Literal).collect();
        for segment in segments(template) {
            if matches!(parts.last(), Some(Part::Rest(_) | Part::Parameter { is_optional: true, .. })) {
                return Err(format!("nothing can follow an optional or a {{*}} parameter, as \"{segment}\" does"));
            }
            parts.push(part_of(&segment)?);
        }
        Ok(Route { parts })
    }

    /// The parameters of `target`, a path with or without a query; None when it is not for this route. Text has no case, as with Azure.
    pub fn parameters(&self, target: &str) -> Option<Map<String, Value>> {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut segments = path.split('/').filter(|_| !path.is_empty());
        let mut found = Map::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => {
                    let decoded = path_text(segments.next()?);
                    if decoded.to_lowercase() != text.to_lowercase() {
                        return None;
                    }
                }
                Part::Parameter { name, kind, is_optional } => match segments.next().map(path_text) {
                    Some(value) if kind.takes(&value) => drop(found.insert(name.clone(), json!(value))),
                    None if *is_optional => {}
                    _ => return None,
                },
                Part::Rest(name) => {
                    let rest: Vec<String> = segments.by_ref().map(path_text).collect();
                    if !rest.is_empty() {
                        found.insert(name.clone(), json!(rest.join("/")));
                    }
                }
            }
        }
        segments.next().is_none().then_some(found)
    }

    /// What comes before the first parameter.
    pub fn beginning(&self) -> String {
        let literals = self.parts.iter().map_while(|part| match part {
            Part::Literal(text) => Some(format!("/{text}")),
            _ => None,
        });
        literals.collect()
    }

    /// A path that it takes; the error names a parameter that would have to be made up.
    pub fn path(&self) -> Result<String, String> {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => path.push_str(&format!("/{text}")),
                Part::Parameter { name, is_optional: false, .. } => return Err(name.clone()),
                Part::Parameter { .. } | Part::Rest(_) => {}
            }
        }
        Ok(if path.is_empty() { "/".to_string() } else { path })
    }
}

impl Kind {
    fn takes(self, value: &str) -> bool {
        match self {
            Kind::Any => !value.is_empty(),
            Kind::Int => value.parse::<i32>().is_ok(),
            Kind::Long => value.parse::<i64>().is_ok(),
            Kind::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Kind::Alpha => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphabetic()),
            Kind::Guid => {
                let groups: Vec<usize> = value.split('-').map(str::len).collect();
                (groups == [8, 4, 4, 4, 12] || groups == [32])
                    && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
            }
        }
    }
}

fn part_of(segment: &str) -> Result<Part, String> {
    if !segment.contains(['{', '}']) {
        return Ok(Part::Literal(segment.to_string()));
    }
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.filter(|inner| !inner.contains(['{', '}']));
    let inner = inner.ok_or_else(|| format!("\"{segment}\" is not one {{parameter}} from slash to slash"))?;
    let bad = |what: &str| Err(format!("{what} of \"{segment}\" is not supported"));
    if inner.contains('=') {
        return bad("the default value");
    }
    let (inner, is_optional) = inner.strip_suffix('?').map_or((inner, false), |inner| (inner, true));
    let (inner, is_rest) =
        inner.strip_prefix('*').map_or((inner, false), |inner| (inner.trim_start_matches('*'), true));
    let (name, kind) = match inner.split_once(':') {
        None => (inner, Kind::Any),
        Some((name, wanted)) => match KINDS.iter().find(|(known, _)| *known == wanted) {
            Some((_, kind)) if !is_rest => (name, *kind),
            _ => return bad(&format!("the constraint \":{wanted}\"")),
        },
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Err(format!("\"{segment}\" does not name its parameter"));
    }
    let name = name.to_string();
    Ok(if is_rest { Part::Rest(name) } else { Part::Parameter { name, kind, is_optional } })
}

/// A slash that was encoded is no separator, and stays as it was.
fn path_text(segment: &str) -> String {
    let kept = segment.replace("%2F", "%252F").replace("%2f", "%252f");
    percent_decoded(&kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(template: &str, target: &str) -> Option<String> {
        let route = Route::parse("api", template).unwrap();
        route.parameters(target).map(|found| Value::Object(found).to_string())
    }

    #[test]
    fn parameters_come_decoded_optional_ones_and_the_rest_may_be_missing() {
        let some = |text: &str| Some(text.to_string());
        assert_eq!(of("hello", "/api/HELLO/?a=b"), some("{}"));
        assert_eq!(
            of("orders/{id}/lines", "/api/orders/caf%C3%A9%20a%2Fb+c/lines"),
            some("{\"id\":\"caf\u{e9} a%2Fb+c\"}")
        );
        assert_eq!(of("orders/{kind:alpha}/{id:int?}", "/api/orders/new/7"), some("{\"id\":\"7\",\"kind\":\"new\"}"));
        assert_eq!(of("orders/{kind:alpha}/{id:int?}", "/api/orders/new"), some("{\"kind\":\"new\"}"));
        assert_eq!(of("files/{*path}", "/api/files/a/b.txt"), some("{\"path\":\"a/b.txt\"}"));
        assert_eq!(of("{**path}", "/api"), some("{}"));
        assert_eq!(of("{id:guid}", "/api/0f8fad5b-d9cb-469f-a165-70867728950e").is_some(), true);
    }

    #[test]
    fn what_is_not_for_a_route_is_not_taken() {
        for (template, target) in [
            ("hello", "/hello"),
            ("hello", "/api/hello/more"),
            ("orders/{id}", "/api/orders"),
            ("orders/{id}", "/api/orders//"),
            ("orders/{id:int}", "/api/orders/x"),
            ("orders/{kind:alpha}", "/api/orders/a1"),
            ("{id:guid}", "/api/0f8fad5b"),
            ("{on:bool}", "/api/yes"),
        ] {
            assert_eq!(of(template, target), None, "{template} {target}");
        }
    }

    #[test]
    fn what_of_a_route_is_not_understood_is_named() {
        let why = |template: &str| Route::parse("", template).err().unwrap();
        assert_eq!(why("{id:range(1,2)}"), "the constraint \":range(1,2)\" of \"{id:range(1,2)}\" is not supported");
        assert_eq!(why("{id=7}"), "the default value of \"{id=7}\" is not supported");
        assert_eq!(why("a{id}"), "\"a{id}\" is not one {parameter} from slash to slash");
        assert_eq!(why("{id?}/x"), "nothing can follow an optional or a {*} parameter, as \"x\" does");
        assert_eq!(why("{}"), "\"{}\" does not name its parameter");
    }

    #[test]
    fn path_is_one_that_the_route_takes_unless_it_asks_for_more() {
        assert_eq!(Route::parse("api", "a/{id?}").unwrap().path(), Ok("/api/a".to_string()));
        assert_eq!(Route::parse("", "{*rest}").unwrap().path(), Ok("/".to_string()));
        assert_eq!(Route::parse("api", "a/{id}").unwrap().path(), Err("id".to_string()));
    }
}
