//! Which attributes of the context a policy reads: what a remembered decision depends on.

use serde_json::Value;
use std::collections::BTreeSet;

/// The attributes of the context that a policy set reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Attributes that are named.
    named: BTreeSet<String>,
    /// Whether the context is used as a whole somewhere, so that any attribute may be read.
    whole: bool,
}

impl Reads {
    /// Whether this attribute may be read.
    pub(crate) fn attribute(&self, name: &str) -> bool {
        self.whole || self.named.contains(name)
    }

    /// Adds what a policy in Cedar's JSON form reads.
    pub(crate) fn add(&mut self, policy: &Value) {
        match policy {
            Value::Object(members) => {
                for (key, inner) in members {
                    let attribute = inner.get("attr").and_then(Value::as_str);
                    match (key.as_str(), attribute) {
                        ("." | "has", Some(attribute)) if is_context(inner.get("left")) => {
                            self.named.insert(attribute.to_owned());
                        }
                        ("Var", _) if inner.as_str() == Some("context") => self.whole = true,
                        _ => self.add(inner),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            _ => {}
        }
    }
}

fn is_context(expression: Option<&Value>) -> bool {
    expression.and_then(|it| it.get("Var")).and_then(Value::as_str) == Some("context")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(condition: &str) -> Reads {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        let mut reads = Reads::default();
        reads.add(&policy.to_json().unwrap());
        reads
    }

    #[test]
    fn attributes_are_found_and_a_context_used_as_a_whole_counts_as_all() {
        assert!(!reads("principal.admin").attribute("time"));
        assert!(!reads("context has account && context.account == \"time\"").attribute("time"));
        assert!(
            reads("context.authn == \"token\" && context.time > context.other").attribute("time")
        );
        assert!(reads("context has time").attribute("time"));
        assert!(reads("context has \"time\"").attribute("time"));
        assert!(reads("context[\"time\"] == 1").attribute("time"));
        assert!(
            reads("(if principal.admin then context else context).time == 1").attribute("time")
        );
        assert!(reads("context == {}").attribute("time"));
        assert!(reads("[context].contains(principal)").attribute("time"));
    }
}
