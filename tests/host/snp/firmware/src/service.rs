//! One model guest per guest context, and what each command does to it.

use crate::protocol::{Command, Finish, Reply, Request};
use casemate_attestation::digest::PageKind;
use casemate_attestation::model::{self, Guest, Processor, Status};
use std::collections::HashMap;

/// More guests than the platform has ASIDs; a bound, not a limit that is met.
const GUESTS_MAX: usize = 64;

#[derive(Debug)]
pub struct Service {
    processor: Processor,
    guests: HashMap<u64, Guest>,
}

impl Service {
    pub fn new(processor: Processor) -> Self {
        Self { processor, guests: HashMap::new() }
    }

    pub fn answer(&mut self, request: &Request<'_>) -> Reply {
        match self.execute(request) {
            Ok(payload) => Reply { status: 0, payload },
            Err(status) => Reply { status: status.code(), payload: Vec::new() },
        }
    }

    fn execute(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Status> {
        match &request.command {
            Command::Start { policy } => {
                if self.guests.len() >= GUESTS_MAX {
                    return Err(Status::ResourceLimit);
                }
                let guest = Guest::start(&self.processor, *policy)?;
                self.guests.insert(request.guest, guest);
                Ok(Vec::new())
            }
            Command::Decommission => {
                self.guests.remove(&request.guest).ok_or(Status::InvalidGuest)?;
                Ok(Vec::new())
            }
            command => {
                let guest = self.guests.get_mut(&request.guest).ok_or(Status::InvalidGuest)?;
                about_guest(&self.processor, guest, command)
            }
        }
    }
}

fn about_guest(
    processor: &Processor,
    guest: &mut Guest,
    command: &Command<'_>,
) -> Result<Vec<u8>, Status> {
    match command {
        Command::Update { gpa, page_type, contents } => {
            let kind = PageKind::from_raw(*page_type).ok_or(Status::InvalidParam)?;
            if kind.contents_measured() != contents.is_some() {
                return Err(Status::InvalidParam);
            }
            guest.update(kind, *gpa, contents.unwrap_or(&[0; 4096]))?;
            Ok(Vec::new())
        }
        Command::Secrets => Ok(guest.secrets_page(processor).to_vec()),
        Command::Finish(finish) => {
            guest.finish(&parameters(finish))?;
            // For the module to compare with the digest that it keeps itself.
            Ok(guest.state().measurement.to_vec())
        }
        Command::GuestRequest { message } => Ok(guest.request(processor, message)?.to_vec()),
        Command::Start { .. } | Command::Decommission => Err(Status::InvalidCommand),
    }
}

fn parameters<'a>(finish: &Finish<'a>) -> model::Finish<'a> {
    model::Finish {
        id: finish.id.map(|(block, auth)| (block.as_slice(), auth.as_slice())),
        author_key: finish.author_key,
        vcek_disabled: finish.vcek_disabled,
        host_data: finish.host_data,
    }
}
