//! What of the pod is about its network: names, and variables of services.

use crate::reader::Reader;
use crate::yaml::Value;
use casemate_pod::{Dns, HostAlias, Resolver};

impl Reader<'_> {
    /// Whether variables of services reach programs.
    pub fn services(&mut self, spec: &Value) -> bool {
        let field = "spec.enableServiceLinks";
        let value = spec.get("enableServiceLinks");
        let line = value.map_or(spec.line, |value| value.line);
        let open = self.choices.pod.open_services;
        match (value.and_then(Value::flag), open) {
            (Some(false), false) => {
                let why = "no variable of a service reaches a program, not even those of the API \
                           server that Kubernetes adds all the same";
                self.findings.bound(line, field, why);
            }
            (_, true) => {
                let why = "variables of services reach programs, with values of their types that \
                           the host chooses";
                self.findings.open(line, field, why);
            }
            _ => {
                let why = "must be false: else Kubernetes adds variables that no manifest can \
                           list; or choose open_services";
                self.findings.refuse(line, field, why);
            }
        }
        open
    }

    /// Where names are looked up.
    pub fn dns(&mut self, spec: &Value) -> Dns {
        let policy = spec.get("dnsPolicy");
        let line = policy.map_or(0, |policy| policy.line);
        if policy.and_then(Value::text) != Some("None") {
            let why = "the host names the nameservers: at most three, and 32 search domains";
            self.findings.open(line, "spec.dnsPolicy", why);
            if let Some(config) = spec.get("dnsConfig") {
                let why = "is mixed with what the host has; bound where dnsPolicy is None";
                self.findings.open(config.line, "spec.dnsConfig", why);
            }
            return Dns::Open;
        }
        self.findings.bound(line, "spec.dnsPolicy", "nameservers are those of dnsConfig");
        let mut resolver = Resolver::default();
        let Some(config) = spec.get("dnsConfig") else {
            self.findings.refuse(line, "spec.dnsConfig", "is missing");
            return Dns::Open;
        };
        self.findings.bound(config.line, "spec.dnsConfig", "as it is");
        for (key, value) in self.entries(config, "spec.dnsConfig") {
            let field = format!("spec.dnsConfig.{}", key.name);
            for one in self.list(value, &field) {
                match key.name.as_str() {
                    "nameservers" => match one.word().and_then(|word| word.parse().ok()) {
                        Some(address) => resolver.nameservers.push(address),
                        None => self.findings.refuse(one.line, &field, "is no address"),
                    },
                    "searches" => resolver.searches.extend(self.text(one, &field)),
                    "options" => {
                        let name = one.get("name").and_then(Value::text).unwrap_or_default();
                        let value = one.get("value").and_then(Value::word);
                        let value = value.map_or_else(String::new, |value| format!(":{value}"));
                        resolver.options.push(format!("{name}{value}"));
                    }
                    _ => self.findings.refuse(key.line, &field, "is not known here"),
                }
            }
        }
        if let Err(error) = resolver.check() {
            self.findings.refuse(config.line, "spec.dnsConfig", error.to_string());
        }
        Dns::Fixed(resolver)
    }

    /// Lines of `/etc/hosts`.
    pub fn hosts(&mut self, spec: &Value) -> Vec<HostAlias> {
        let field = "spec.hostAliases";
        let Some(value) = spec.get("hostAliases") else { return Vec::new() };
        self.findings.bound(value.line, field, "lines of /etc/hosts");
        let mut all = Vec::new();
        for one in self.list(value, field) {
            let address = one.get("ip").and_then(Value::word).and_then(|ip| ip.parse().ok());
            let names = one.get("hostnames").and_then(Value::list).unwrap_or_default();
            let names: Option<Vec<String>> =
                names.iter().map(|name| name.text().map(str::to_owned)).collect();
            match (address, names) {
                (Some(address), Some(names)) => all.push(HostAlias { address, names }),
                _ => {
                    self.findings.refuse(one.line, field, "has no address, or a name that is none");
                }
            }
        }
        all
    }
}
