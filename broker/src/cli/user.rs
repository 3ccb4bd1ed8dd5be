//! `weir user`: users with passwords, for SCRAM and PLAIN.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::json;
use weir_client::admin::Admin;
use weir_client::security::Mechanism;
use weir_protocol::sasl::scram::Hash;

use super::output::{OutputArgs, print_list};
use super::{CliError, Context, note};

/// Flags of `user`.
#[derive(Debug, clap::Args)]
pub struct UserArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UserCommand {
    /// List users and the mechanisms they can use
    #[command(visible_alias = "ls")]
    List,
    /// Create a user; the password is the first line of standard input, or a random one that is printed
    Create(NewPassword),
    /// Change a user's password; it is the first line of standard input, or a random one that is printed
    Passwd(NewPassword),
    /// Delete a user
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct NewPassword {
    /// Name of the user
    name: String,
    /// Make a random password and print it
    #[arg(long)]
    random: bool,
}

pub(crate) async fn run(context: &Context, args: UserArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    match args.command {
        UserCommand::List => {
            let users = admin.list_users().await?;
            let items: Vec<_> = users
                .iter()
                .map(|user| {
                    let names: Vec<_> = user.mechanisms.iter().map(|(mechanism, _)| mechanism.name()).collect();
                    json!({ "user": user.name, "mechanisms": names.join(",") })
                })
                .collect();
            print_list(out, args.output.output, &[("user", "USER"), ("mechanisms", "MECHANISMS")], &items)
        }
        UserCommand::Create(new) => set(&admin, new, false, out).await,
        UserCommand::Passwd(new) => set(&admin, new, true, out).await,
        UserCommand::Delete { name } => {
            let Some(user) = admin.list_users().await?.into_iter().find(|user| user.name == name) else {
                return Err(missing(name));
            };
            let mechanisms: Vec<Mechanism> = user.mechanisms.iter().map(|(mechanism, _)| *mechanism).collect();
            admin.delete_user(&name, &mechanisms).await?;
            note(&format!("user `{name}` was deleted; its open connections stay until they authenticate again"));
            Ok(())
        }
    }
}

async fn set(admin: &Admin, new: NewPassword, exists: bool, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let known = admin.list_users().await?.iter().any(|user| user.name == new.name);
    match (known, exists) {
        (true, false) => {
            return Err(CliError::Invalid {
                setting: "user create",
                value: new.name,
                reason: "exists".into(),
                fix: "change the password with `weir user passwd`".into(),
            });
        }
        (false, true) => return Err(missing(new.name)),
        _ => {}
    }
    let (password, shown) = if new.random { (random()?, true) } else { (read_password()?, false) };
    admin.set_password(&new.name, &password, &Hash::ALL).await?;
    if shown {
        writeln!(out, "{password}").map_err(CliError::io("writing the password".to_owned()))?;
    }
    note(&format!("user `{}` has a new password for SCRAM-SHA-256, SCRAM-SHA-512 and PLAIN", new.name));
    Ok(())
}

fn missing(name: String) -> CliError {
    CliError::Invalid {
        setting: "user",
        value: name,
        reason: "does not exist".into(),
        fix: "see `weir user list`".into(),
    }
}

fn random() -> Result<String, CliError> {
    crate::security::random_password().map_err(|error| CliError::Io {
        doing: "making a password".to_owned(),
        source: std::io::Error::other(error.to_string()),
    })
}

/// The first line of standard input. Flags would show it in the list of processes.
fn read_password() -> Result<String, CliError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        note("password (it is shown as you type; `--random` makes one):");
    }
    let mut line = String::new();
    input.lock().read_line(&mut line).map_err(CliError::io("reading the password".to_owned()))?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(CliError::Invalid {
            setting: "password",
            value: String::new(),
            reason: "is empty".into(),
            fix: "write it on the first line of standard input, or use --random".into(),
        });
    }
    Ok(password)
}
