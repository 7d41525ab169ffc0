//! The environment of a container: what its image, its pod and the engine set, and which values are
//! the host's.

use crate::reader::Reader;
use crate::yaml::Value;
use casemate_pod::{OpenValue, OpenVariable};
use std::collections::BTreeMap;

/// What Docker and containerd set where an image says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables in their order, each name once; None is a value of the host's.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    all: Vec<(String, Option<String>)>,
    open: BTreeMap<String, OpenValue>,
    /// Those that the pod sets, which is what `$(NAME)` can mean.
    own: Vec<String>,
}

impl Environment {
    /// As the image has it.
    pub fn of_image(env: &[String]) -> Self {
        let mut made = Self::default();
        for (name, value) in env.iter().filter_map(|entry| entry.split_once('=')) {
            made.set(name, value);
        }
        made
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.all.iter().find(|(one, _)| one == name);
        found.and_then(|(_, value)| value.as_deref())
    }

    fn has(&self, name: &str) -> bool {
        self.all.iter().any(|(one, _)| one == name)
    }

    fn put(&mut self, name: &str, value: Option<String>) {
        self.open.remove(name);
        match self.all.iter_mut().find(|(one, _)| one == name) {
            Some((_, place)) => *place = value,
            None => self.all.push((name.to_owned(), value)),
        }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.put(name, Some(value.to_owned()));
    }

    pub fn set_open(&mut self, name: &str, value: OpenValue) {
        self.put(name, None);
        self.open.insert(name.to_owned(), value);
    }

    /// What is there whether or not anybody writes it: a search path, a home, the hostname, and
    /// the kind of a terminal.
    pub fn complete(&mut self, home: &str, hostname: Option<&str>, terminal: bool) {
        if !self.has("PATH") {
            self.set("PATH", PATH);
        }
        if !self.has("HOME") {
            self.set("HOME", home);
        }
        if terminal && !self.has("TERM") {
            self.set("TERM", "xterm");
        }
        if !self.has("HOSTNAME") {
            match hostname {
                Some(name) => self.set("HOSTNAME", name),
                None => self.set_open("HOSTNAME", OpenValue::Label),
            }
        }
    }

    /// Lines of a manifest.
    pub fn lines(&self) -> (Vec<String>, Vec<OpenVariable>) {
        let line = |(name, value): &(String, Option<String>)| {
            value.as_ref().map(|value| format!("{name}={value}"))
        };
        let open = self.open.iter();
        let open = open.map(|(name, value)| OpenVariable { name: name.clone(), value: *value });
        (self.all.iter().filter_map(line).collect(), open.collect())
    }

    /// A text with `$(NAME)` written out as the kubelet does it (third_party/forked/golang/
    /// expansion): `$$` is a dollar.
    ///
    /// # Errors
    /// The name that stands for what is the host's, or for nothing that is known: the kubelet
    /// leaves that as it is, unless a service happens to have given it a value.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut left = text;
        while let Some((before, rest)) = left.split_once('$') {
            out.push_str(before);
            left = if let Some(rest) = rest.strip_prefix('$') {
                out.push('$');
                rest
            } else if let Some((name, rest)) =
                rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
            {
                let known = self.own.iter().any(|one| one == name);
                let value = self.value(name).filter(|_| known);
                out.push_str(value.ok_or_else(|| name.to_owned())?);
                rest
            } else {
                out.push('$');
                rest
            };
        }
        out.push_str(left);
        Ok(out)
    }
}

/// Reads `env` of a container over what its image has.
pub(crate) fn read(reader: &mut Reader<'_>, container: &Value, at: &str, env: &mut Environment) {
    if let Some(from) = container.get("envFrom") {
        let why = "cannot be bound: the names would be the host's; write the variables out";
        reader.findings.refuse(from.line, &format!("{at}.envFrom"), why);
    }
    let Some(list) = container.get("env") else { return };
    for one in reader.list(list, &format!("{at}.env")) {
        let Some(name) = one.get("name").and_then(Value::text) else {
            reader.findings.refuse(one.line, &format!("{at}.env"), "has no name");
            continue;
        };
        let field = format!("{at}.env[{name}]");
        for (key, _) in reader.entries(one, &field) {
            if !matches!(key.name.as_str(), "name" | "value" | "valueFrom") {
                reader.findings.refuse(key.line, &field, "has a key that is not known here");
            }
        }
        match (one.get("value"), one.get("valueFrom")) {
            (Some(_), Some(_)) => {
                reader.findings.refuse(one.line, &field, "has both a value and valueFrom");
            }
            (None, Some(from)) => source(reader, env, name, from, &field),
            (value, None) => {
                let text = match value {
                    Some(value) => reader.text(value, &field),
                    None => Some(String::new()),
                };
                let Some(text) = text else { continue };
                match env.expand(&text) {
                    Ok(text) => {
                        reader.findings.bound(one.line, &field, "exact");
                        env.set(name, &text);
                    }
                    Err(other) => {
                        let why = format!("names $({other}), whose value is not known here");
                        reader.findings.refuse(one.line, &field, why);
                    }
                }
            }
        }
        env.own.push(name.to_owned());
    }
}

/// `valueFrom`: fields of the pod are bound where the pod says them, else open by their type.
fn source(reader: &mut Reader<'_>, env: &mut Environment, name: &str, from: &Value, field: &str) {
    if let Some(reference) = from.get("configMapKeyRef") {
        let word = |key: &str| reference.get(key).and_then(Value::text).unwrap_or_default();
        let value = reader.maps.get(word("name")).and_then(|map| map.get(word("key"))).cloned();
        let Some(value) = value else {
            let why = "is of a ConfigMap that is not in this text: put it there, behind `---`";
            return reader.findings.refuse(from.line, field, why);
        };
        reader.findings.bound(from.line, field, "exact, as the ConfigMap here has it");
        return env.set(name, &value);
    }
    if from.get("resourceFieldRef").is_some() {
        let why = "a number, which the host chooses";
        reader.findings.open(from.line, field, why);
        return env.set_open(name, OpenValue::Number);
    }
    let path = from.get("fieldRef").and_then(|field| field.get("fieldPath"));
    let Some(path) = path.and_then(Value::text) else {
        let why = "is of a Secret, which is no secret of the host's, or of a source that is not \
                   known here: ask the key broker (docs/pods.md)";
        return reader.findings.refuse(from.line, field, why);
    };
    let known = match path {
        "metadata.name" => reader.name.clone(),
        "metadata.namespace" => reader.namespace.clone(),
        _ => None,
    };
    if let Some(value) = known {
        reader.findings.bound(from.line, field, "exact, as the pod says it");
        return env.set(name, &value);
    }
    let value = match path {
        "status.podIP" | "status.hostIP" => OpenValue::Ip,
        "status.podIPs" | "status.hostIPs" => OpenValue::Ips,
        "metadata.namespace" => OpenValue::Label,
        "metadata.name" | "spec.nodeName" | "spec.serviceAccountName" => OpenValue::Domain,
        "metadata.uid" => OpenValue::Uuid,
        _ => {
            let why = "is a field whose values have no type here";
            return reader.findings.refuse(from.line, field, why);
        }
    };
    reader.findings.open(from.line, field, format!("the host chooses it: {value}"));
    env.set_open(name, value);
}

#[cfg(test)]
mod tests {
    use super::Environment;

    #[test]
    fn variables_are_written_out_as_the_kubelet_does_it() {
        let mut env = Environment::of_image(&["IMAGE=i".into()]);
        env.set("A", "a");
        env.own.push("A".into());
        for (text, expected) in
            [("x$(A)y", "xay"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$(A", "$(A"), ("$", "$")]
        {
            assert_eq!(env.expand(text).as_deref(), Ok(expected), "{text}");
        }
        // Those of the image are not the kubelet's to write out.
        assert_eq!(env.expand("$(IMAGE)"), Err("IMAGE".into()));
        assert_eq!(env.expand("$(B)"), Err("B".into()));
    }
}
