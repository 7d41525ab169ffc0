//! A guest asks for a secret.

use crate::answer::{Answer, Event, Refusal};
use crate::config::Basis;
use crate::session::Session;
use crate::stores::{Decided, Stores, Taken};
use casemate_kbs::{Draws, Resource, Sealed};
use casemate_policy::log::DecisionRecord;
use casemate_policy::{Key, Point};
use zeroize::Zeroizing;

/// How often a release is decided, when another session's use comes between question and count.
const TRIES: usize = 8;

pub(crate) fn release(
    basis: &Basis,
    token: &str,
    resource: &Resource,
    now: u64,
    stores: &Stores<'_>,
) -> Result<Answer, Refusal> {
    let session = Session::read(token, &basis.key, &basis.policy_hash, now)?;
    let id = session.id();
    // The grant's pattern, as the policy writes it, is what uses are counted of. Without one there
    // is nothing to count, and the policy says so.
    let grant = basis.policy.grant(resource.name()).map(|grant| grant.resource().to_string());
    let facts = session
        .facts
        .clone()
        .text(Key::SecretResource, resource.name())
        .flag(Key::SecretAttested, session.admitted)
        .number(Key::SecretTime, now)
        .number(Key::SecretSessionAge, now.saturating_sub(session.since));
    for _ in 0..TRIES {
        let (facts, uses) = match &grant {
            None => (facts.clone(), 0),
            Some(grant) => {
                let uses = stores.secrets.uses(grant, id, now)?;
                (facts.clone().number(Key::SecretUses, uses), uses)
            }
        };
        let decision = basis.policy.decide(Point::Secrets, &facts);
        let record = DecisionRecord::new(basis.policy_hash, Point::Secrets, &facts, &decision);
        let grant = match &grant {
            Some(grant) if decision.is_allow() => grant,
            _ => return Err(Refusal::denied(&decision, record)),
        };
        // Only who may have it learns whether it is there.
        let until = session.until;
        let decided = Decided { resource, grant, session: id, uses, now, until };
        match stores.secrets.take(&decided)? {
            Taken::Moved => {}
            Taken::NotThere => {
                return Err(Refusal::no_such_secret(resource).decided(record));
            }
            Taken::Secret { secret, version } => {
                let sealed = match seal(&session, &secret, stores) {
                    Ok(sealed) => sealed,
                    Err(refusal) => return Err(refusal.decided(record)),
                };
                let (resource, grant) = (resource.clone(), grant.clone());
                let event = Event::Released { resource, grant, session: id, version, uses };
                return Ok(Answer::given(sealed.to_json(), event).decided(vec![record]));
            }
        }
    }
    Err(Refusal::busy(1))
}

fn seal(session: &Session, secret: &[u8], stores: &Stores<'_>) -> Result<Sealed, Refusal> {
    // One draw in 2^32 is no key; two in a row are a broken source.
    for _ in 0..2 {
        let mut random = Zeroizing::new([0; 76]);
        stores.entropy.fill(random.as_mut())?;
        if let Some(draws) = Draws::new(&random) {
            return Sealed::new(&session.key, secret, &draws)
                .ok_or_else(|| Refusal::failed("a secret is longer than can be sealed"));
        }
    }
    Err(Refusal::failed("random numbers that are none"))
}
