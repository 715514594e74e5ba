//! `bizcenter create-tenant`.
use super::{CreateTenantArgs, print, prompt};
use crate::base::error::Error;
use crate::base::formats::is_one_line;
use crate::config::Config;
use crate::db::types::TenantId;
use crate::db::{System, WriteTx};
use crate::resources::tenant;
use crate::resources::tenant::NewTenant;
use anyhow::{Context, bail};

pub async fn run(config: Config, args: CreateTenantArgs) -> anyhow::Result<()> {
    let CreateTenantArgs { slug, name, open_registration } = args;
    let slug = prompt::value(slug, "--slug", "Short name (a-z, 0-9 and -)")?;
    let is_slug = (3..=50).contains(&slug.len())
        && slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_slug {
        bail!("--slug must have 3 to 50 of a-z, 0-9 and -");
    }
    let name = prompt::value(name, "--name", "Name")?;
    if name.chars().count() > 120 || !is_one_line(&name) {
        bail!("--name must be one line of at most 120 characters");
    }
    let parts = super::connect(&config).await?;
    let id: TenantId = parts.env.uuid().into();
    let new = NewTenant { slug: slug.clone(), name, open_registration };
    let made = parts.db.write(&System::of(id), async |tx: &mut WriteTx| tenant::insert(tx, new).await).await;
    match made {
        Err(Error::Conflict(_)) => bail!("a tenant {slug} is there already"),
        done => done.context("the tenant was not created")?,
    }
    print(&format!("Created tenant {slug} ({id}).\n"))
}
