//! `casemate policy`: write, check, ask, compare and test policies.

pub(crate) mod ask;
mod audit;
mod compare;
pub mod files;
mod findings;
mod from;
mod junit;
mod rules;
mod write;

use crate::Outcome;
use clap::{Args, Subcommand};

/// Write, check, ask, compare and test isolation policies
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy init policy.toml      a strict one, with comments
  casemate policy from vm.toml          the strictest that admits this VM
  casemate policy check policy.toml
  casemate policy lint policy.toml
  casemate run vm.toml --policy policy.toml
")]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Check(audit::CheckArgs),
    Lint(audit::LintArgs),
    Test(audit::TestArgs),
    Eval(ask::EvalArgs),
    Explain(ask::ExplainArgs),
    WhyNot(ask::WhyNotArgs),
    Diff(compare::DiffArgs),
    Merge(compare::MergeArgs),
    Export(write::ExportArgs),
    Hash(write::HashArgs),
    From(from::FromArgs),
    Init(write::InitArgs),
    Reference(write::ReferenceArgs),
    Rules(rules::RulesArgs),
    Schema(write::SchemaArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: &PolicyArgs) -> Outcome {
    match &args.command {
        PolicyCommand::Check(args) => audit::check(args),
        PolicyCommand::Lint(args) => audit::lint(args),
        PolicyCommand::Test(args) => audit::test(args),
        PolicyCommand::Eval(args) => ask::eval(args),
        PolicyCommand::Explain(args) => ask::explain(args),
        PolicyCommand::WhyNot(args) => ask::why_not(args),
        PolicyCommand::Diff(args) => compare::diff(args),
        PolicyCommand::Merge(args) => compare::merge(args),
        PolicyCommand::Export(args) => write::export(args),
        PolicyCommand::Hash(args) => write::hash(args),
        PolicyCommand::From(args) => from::from(args),
        PolicyCommand::Init(args) => write::init(args),
        PolicyCommand::Reference(args) => write::reference(args),
        PolicyCommand::Rules(args) => rules::rules(args),
        PolicyCommand::Schema(args) => write::schema(args),
    }
}
