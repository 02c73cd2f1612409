//! The node's agent with the built-in runtime: real containers of busybox, as root. The binary is the runtime's helper
//! too, hence a harness of its own that speaks the usual flags.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; the harness and its figures speak on standard output"
)]

mod bench;
mod cases;
mod fixture;

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::helper::main_if_helper();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    if flag("--list") {
        let listed = if flag("--ignored") { cases::IGNORED } else { cases::ALL };
        listed.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|wanted| if flag("--exact") { **wanted == name } else { name.contains(wanted.as_str()) })
    };
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let asked = if wanted.is_empty() { &[] } else { cases::IGNORED };
    for (name, case) in cases::ALL.iter().chain(asked).filter(|(name, _)| chosen(name)) {
        println!("test {name}");
        tokio.block_on(case());
    }
    ExitCode::SUCCESS
}
