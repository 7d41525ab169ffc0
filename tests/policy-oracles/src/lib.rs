//! Two independent evaluators of exported policies.

use casemate_policy::{Facts, Input, Point, Policy, export};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Schema, ValidationMode,
    Validator,
};

/// The policy in regorus.
pub struct Rego(regorus::Engine);

impl Rego {
    /// Loads the export. Panics when regorus refuses it.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let mut engine = regorus::Engine::new();
        let text = export::rego(policy);
        if let Err(error) = engine.add_policy("policy.rego".into(), text.clone()) {
            panic!("{error}\n{text}");
        }
        Self(engine)
    }

    /// The input as regorus takes it.
    #[must_use]
    pub fn input(point: Point, facts: &Facts) -> regorus::Value {
        let json = export::rego_input(&Input { point: Some(point), facts: facts.clone() });
        regorus::Value::from_json_str(&json).unwrap()
    }

    /// The verdict of `data.casemate.allow`.
    pub fn allows(&mut self, input: regorus::Value) -> bool {
        self.0.set_input(input);
        self.0.eval_rule("data.casemate.allow".into()).unwrap() == regorus::Value::from(true)
    }
}

/// The policy in Cedar.
pub struct Cedar {
    schema: Schema,
    policies: PolicySet,
    authorizer: Authorizer,
    principal: EntityUid,
    resource: EntityUid,
}

impl Cedar {
    /// Loads the export with its schema. Panics when Cedar refuses either, or strict validation
    /// finds an error.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let (schema, _) = Schema::from_cedarschema_str(&export::cedar_schema()).unwrap();
        let text = export::cedar(policy).unwrap();
        let policies: PolicySet = text.parse().unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        let errors: Vec<String> = result.validation_errors().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{text}");
        Self {
            schema,
            policies,
            authorizer: Authorizer::new(),
            principal: "Host::\"host\"".parse().unwrap(),
            resource: "Guest::\"guest\"".parse().unwrap(),
        }
    }

    /// The request of an input.
    #[must_use]
    pub fn request(&self, point: Point, facts: &Facts) -> Request {
        let wanted = export::cedar_request(point, facts).unwrap();
        assert_eq!(wanted.action, point.name());
        self.raw_request(point, &wanted.context)
    }

    /// A request with this context, whoever made it.
    #[must_use]
    pub fn raw_request(&self, point: Point, context: &str) -> Request {
        let action: EntityUid = format!("Action::\"{point}\"").parse().unwrap();
        let read = Context::from_json_str(context, Some((&self.schema, &action)));
        let context = read.unwrap_or_else(|error| panic!("{error:?}\n{context}"));
        let (principal, resource) = (self.principal.clone(), self.resource.clone());
        Request::new(principal, action, resource, context, Some(&self.schema)).unwrap()
    }

    /// Whether the input is permitted; one of which no request can be made is not.
    #[must_use]
    pub fn decides(&self, point: Point, facts: &Facts) -> bool {
        match export::cedar_request(point, facts) {
            Ok(request) => self.allows(&self.raw_request(point, &request.context)),
            Err(export::CedarError::Invalid { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether the request is permitted.
    #[must_use]
    pub fn allows(&self, request: &Request) -> bool {
        let response = self.authorizer.is_authorized(request, &self.policies, &Entities::empty());
        response.decision() == Decision::Allow
    }
}
