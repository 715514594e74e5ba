//! `bizcenter create-user`.
use super::{CreateUserArgs, print, prompt};
use crate::auth::Role;
use crate::base::error::{Detail, Error};
use crate::base::formats::is_one_line;
use crate::base::queue::Claimant;
use crate::config::Config;
use crate::db::{Email, Origin};
use crate::resources::auth::{AddedBy, Tenancy};
use crate::resources::users::NewUser;
use anyhow::{Context, anyhow, bail};

pub async fn run(config: Config, args: CreateUserArgs) -> anyhow::Result<()> {
    let CreateUserArgs { email, name, tenant, role, admin, superuser, password_stdin } = args;
    let email = prompt::value(email, "--email", "E-mail")?;
    let email = Email::parse(&email).map_err(|fault| anyhow!("--email {fault}"))?;
    let name = prompt::value(name, "--name", "Name")?;
    if name.chars().count() > 120 || !is_one_line(&name) {
        bail!("--name must be one line of at most 120 characters");
    }
    let slug = prompt::value(tenant, "--tenant", "Tenant (its short name)")?;
    let role = match role {
        _ if admin => Role::Admin,
        Some(name) => Role::ALL.into_iter().find(|role| role.name() == name).context("--role is unknown")?,
        None => Role::Viewer,
    };
    let parts = super::connect(&config).await?;
    let found = parts.db.find_tenant(&slug, &Origin::default()).await.context("the database does not answer")?;
    let (tenant, _) = found
        .with_context(|| format!("there is no tenant {slug}: make it with `bizcenter create-tenant --slug {slug}`"))?;
    let password = prompt::password(password_stdin)?;
    let password_hash = parts.credentials.hash(Claimant::server(), &password).await?;
    let new =
        NewUser { email, username: None, name, role, password_hash, is_superuser: superuser, email_verified: true };
    match parts.registration.add_user(Tenancy::Existing(tenant, role), new, AddedBy::Operator).await {
        Ok(user) => print(&format!("Created user {} ({}), {} of {slug}.\n", user.email, user.id, user.role.name())),
        Err(Error::Conflict(Detail(members))) => {
            bail!("not created: {} is taken", members.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
        Err(error) => Err(anyhow::Error::from(error).context("the user was not created")),
    }
}
