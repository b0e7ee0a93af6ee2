//! From the texts of policies to a set that can be asked.

use crate::error::{PolicyError, PolicyErrors};
use crate::obligation;
use crate::reads::Reads;
use crate::scan::{self, Place};
use crate::{BUILTIN, SCHEMA};
use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy, PolicyId, Schema, ValidationMode, Validator};
use loggia_model::decision::Obligations;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::LazyLock;

/// All policies together are at most this long, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// The name under which the built-in policies stand in errors, and what their ids begin with.
const BUILTIN_FILE: &str = "builtin.cedar";
const BUILTIN_PREFIX: &str = "builtin.";

static VALIDATOR: LazyLock<Result<Validator, String>> = LazyLock::new(|| {
    let parsed = Schema::from_cedarschema_str(SCHEMA).map_err(|error| error.to_string())?;
    Ok(Validator::new(parsed.0))
});

/// Policies in force together. Cheap to ask, immutable; a change makes a new one.
#[derive(Debug, Clone)]
pub struct PolicySet {
    pub(crate) set: cedar_policy::PolicySet,
    /// What each permit obliges to, where it obliges to anything.
    pub(crate) obligations: HashMap<PolicyId, Obligations>,
    pub(crate) hash: String,
    pub(crate) reads_time: bool,
    warnings: Vec<PolicyError>,
}

/// One file while it is compiled.
struct File<'a> {
    name: &'a str,
    text: &'a str,
    places: Vec<Place>,
}

impl File<'_> {
    fn error(&self, byte: usize, message: impl Into<String>, hint: Option<String>) -> PolicyError {
        PolicyError::at(self.name, self.text, byte, message, hint)
    }

    fn cedar(&self, fallback: usize, error: &DetailedError) -> Vec<PolicyError> {
        PolicyError::of_cedar(self.name, self.text, fallback, error)
    }
}

/// What becomes a [`PolicySet`] once every file is in and nothing was wrong.
#[derive(Default)]
struct Building {
    set: cedar_policy::PolicySet,
    obligations: HashMap<PolicyId, Obligations>,
    /// Where each policy stands: number of its file, byte.
    origin: HashMap<PolicyId, (usize, usize)>,
    reads: Reads,
    errors: Vec<PolicyError>,
}

impl PolicySet {
    /// No policies at all, not even the built-in ones: every answer is deny.
    pub fn empty() -> Self {
        Self {
            set: cedar_policy::PolicySet::new(),
            obligations: HashMap::new(),
            hash: hash_of(&[]),
            reads_time: false,
            warnings: Vec::new(),
        }
    }

    /// Compiles files (name and Cedar text) together with the built-in policies. Every policy is
    /// checked against the schema in strict mode. A policy is named by its `@id("…")`, or else
    /// `FILE#N`, N counted from 1.
    ///
    /// # Errors
    /// Everything that is wrong, with file, line and column; nothing is taken then.
    pub fn compile<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Result<Self, PolicyErrors> {
        let mut all: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_ref(), text.as_ref())).collect();
        all.sort_unstable();
        check_files(&all)?;
        all.push((BUILTIN_FILE, BUILTIN));
        let hash = hash_of(&all);

        let files: Vec<File<'_>> = all
            .iter()
            .map(|(name, text)| File { name, text, places: scan::places(text) })
            .collect();
        let mut building = Building::default();
        for (number, file) in files.iter().enumerate() {
            building.add_file(number, file);
        }
        let warnings = if building.errors.is_empty() { building.validate(&files) } else { vec![] };
        if !building.errors.is_empty() {
            building.errors.sort();
            building.errors.dedup();
            return Err(PolicyErrors(building.errors));
        }
        Ok(Self {
            set: building.set,
            obligations: building.obligations,
            hash,
            reads_time: building.reads.attribute("time"),
            warnings,
        })
    }

    /// SHA-256 over names and texts, sorted, the built-in ones included; lower-case hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What is allowed but hardly meant, such as a condition that is never true.
    pub fn warnings(&self) -> &[PolicyError] {
        &self.warnings
    }

    /// Number of policies, the built-in ones included.
    pub fn len(&self) -> usize {
        self.set.num_of_policies()
    }

    /// Whether there is no policy at all.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

/// SHA-256 over each name and text, each preceded by its length (8 bytes, big-endian).
fn hash_of(files: &[(&str, &str)]) -> String {
    let mut hash = Sha256::new();
    for part in files.iter().flat_map(|(name, text)| [name, text]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// What must hold before anything is parsed: names that differ, and a bounded size.
fn check_files(sorted: &[(&str, &str)]) -> Result<(), PolicyErrors> {
    let mut errors = Vec::new();
    for (one, next) in sorted.iter().zip(sorted.iter().skip(1)) {
        if one.0 == next.0 {
            errors.push(PolicyError::at(next.0, next.1, 0, "two files have this name", None));
        }
    }
    for (name, text) in sorted.iter().filter(|(name, _)| *name == BUILTIN_FILE) {
        let hint = Some("choose another name".to_owned());
        errors.push(PolicyError::at(name, text, 0, "the built-in policies have this name", hint));
    }
    let bytes: usize = sorted.iter().map(|(_, text)| text.len()).sum();
    if let (true, Some((name, text))) = (bytes > TEXT_BYTES_MAX, sorted.last()) {
        let message =
            format!("all policies have {bytes} bytes; at most {TEXT_BYTES_MAX} are taken");
        errors.push(PolicyError::at(name, text, 0, message, None));
    }
    if errors.is_empty() { Ok(()) } else { Err(PolicyErrors(errors)) }
}

impl Building {
    fn add_file(&mut self, number: usize, file: &File<'_>) {
        let parsed: cedar_policy::PolicySet = match file.text.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                let error: cedar_policy::ParseErrors = error;
                return self.errors.extend(file.cedar(0, &DetailedError::from(&error)));
            }
        };
        for template in parsed.templates() {
            let start = file.places.get(place_of(template.id())).map_or(0, |place| place.start);
            let hint = "write the entity in place of ?principal or ?resource".to_owned();
            self.errors.push(file.error(start, "a template stands here", Some(hint)));
        }
        for policy in parsed.policies() {
            let index = place_of(policy.id());
            let place = file.places.get(index).cloned().unwrap_or_default();
            self.add_policy(number, file, index, &place, policy);
        }
    }

    fn add_policy(
        &mut self,
        number: usize,
        file: &File<'_>,
        index: usize,
        place: &Place,
        policy: &Policy,
    ) {
        let mut obligations = Obligations::default();
        for (name, value) in policy.annotations() {
            let on_permit = policy.effect() == Effect::Permit;
            if let Err((message, hint)) = obligation::read(name, value, on_permit, &mut obligations)
            {
                self.errors.push(file.error(place.of(name), message, hint));
            }
        }
        let name = match policy.annotation("id") {
            Some(name) => name.to_owned(),
            None => format!("{}#{}", file.name, index + 1),
        };
        if name.starts_with(BUILTIN_PREFIX) && file.name != BUILTIN_FILE {
            let message = format!("`{BUILTIN_PREFIX}…` names policies that are compiled in");
            self.errors.push(file.error(place.of("id"), message, None));
        }
        let id = PolicyId::new(&name);
        if self.origin.insert(id.clone(), (number, place.start)).is_some() {
            let message = format!("two policies are named `{}`", name.escape_debug());
            self.errors.push(file.error(place.of("id"), message, None));
            return;
        }
        match policy.to_json() {
            Ok(json) => self.reads.add(&json),
            Err(error) => self.errors.push(file.error(place.start, error.to_string(), None)),
        }
        if let Err(error) = self.set.add(policy.new_id(id.clone())) {
            self.errors.push(file.error(place.start, error.to_string(), None));
        }
        if obligations != Obligations::default() {
            self.obligations.insert(id, obligations);
        }
    }

    /// Checks the whole set against the schema; gives what is doubtful but allowed.
    fn validate(&mut self, files: &[File<'_>]) -> Vec<PolicyError> {
        let validator = match VALIDATOR.as_ref() {
            Ok(validator) => validator,
            Err(error) => {
                let message = format!("the schema that is compiled in: {error}");
                self.errors.push(PolicyError::at(BUILTIN_FILE, "", 0, message, None));
                return Vec::new();
            }
        };
        let origin = &self.origin;
        let located = |id: &PolicyId, error: &DetailedError| {
            let (number, start) = origin.get(id).copied().unwrap_or((0, 0));
            files.get(number).map_or_else(Vec::new, |file| file.cedar(start, error))
        };
        let result = validator.validate(&self.set, ValidationMode::Strict);
        for error in result.validation_errors() {
            self.errors.extend(located(error.policy_id(), &DetailedError::from(error)));
        }
        let mut warnings: Vec<PolicyError> = result
            .validation_warnings()
            .flat_map(|warning| located(warning.policy_id(), &DetailedError::from(warning)))
            .collect();
        warnings.sort();
        warnings
    }
}

/// The number of a policy in its file, from 0: Cedar names them `policy0`, `policy1`, ….
fn place_of(id: &PolicyId) -> usize {
    let name: &str = id.as_ref();
    name.strip_prefix("policy").and_then(|number| number.parse().ok()).unwrap_or(0)
}
