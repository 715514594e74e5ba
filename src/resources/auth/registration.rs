//! How people come in: by registration, by invitation, or made by an operator.
use super::types::RegisterInput;
use crate::auth::token_mail::SendVerification;
use crate::auth::{Actor, Credentials, Role};
use crate::base::error::{Error, Result};
use crate::base::formats::normalised;
use crate::base::opaque::{OpaqueToken, TokenKind};
use crate::base::queue::Claimant;
use crate::db::types::{TenantId, UserId};
use crate::db::{Audited, Db, Origin, System, WriteTx};
use crate::resources::tenant::{NewTenant, RegistrationPolicy};
use crate::resources::users::{NewUser, User};
use crate::resources::{invitations, tenant, users};

const MAX_SLUG: usize = 40;

/// Where a new user belongs.
pub enum Tenancy {
    /// A tenant that is there, as an operator says.
    Existing(TenantId, Role),
    /// One that anybody may join as a viewer.
    Open(TenantId),
    /// One that somebody invited them to.
    Invited(OpaqueToken),
    /// One that is made for the user, who owns it.
    New(NewTenant),
}

/// The person who adds a user.
pub enum AddedBy {
    /// The new user, who registers and is to verify their address.
    Themselves(Origin),
    /// The operator, at the console.
    Operator,
}

/// Makes users, and the tenants that they found.
#[derive(Clone)]
pub struct Registration {
    pub db: Db,
    pub credentials: Credentials,
}

impl Registration {
    /// Makes a user as a visitor asks for it.
    pub async fn register(&self, input: RegisterInput, origin: Origin) -> Result<User> {
        self.credentials.refuse_common("password", &input.password)?;
        let tenancy = self.tenancy_of(&input, &origin).await?;
        let (again, name) = (input.clone(), input.name());
        let RegisterInput { email, password, username, .. } = input;
        let password_hash = self.credentials.hash(Claimant::visitor(origin.ip), &password).await?;
        let role = Role::Viewer; // the tenancy decides
        let new = NewUser { email, username, name, role, password_hash, is_superuser: false, email_verified: false };
        match self.add_user(tenancy, new.clone(), AddedBy::Themselves(origin.clone())).await {
            // Somebody else was faster with this slug: it is that of an existing tenant now.
            Err(Error::Conflict(detail)) if detail.0.contains_key("tenant_id") => {
                let tenancy = self.tenancy_of(&again, &origin).await?;
                self.add_user(tenancy, new, AddedBy::Themselves(origin)).await
            }
            done => done,
        }
    }

    async fn tenancy_of(&self, input: &RegisterInput, origin: &Origin) -> Result<Tenancy> {
        if let Some(token) = &input.invitation_token {
            if input.tenant_id.is_some() || input.tenant_name.is_some() {
                return Err(Error::unprocessable(
                    "invitation_token",
                    "already sets the tenant. Leave `tenant_id` and `tenant_name` out.",
                ));
            }
            let token = OpaqueToken::read(TokenKind::Invitation, token).ok_or_else(invitations::invalid)?;
            return Ok(Tenancy::Invited(token));
        }
        let name = input.tenant_name.clone().unwrap_or_else(|| input.name());
        let Some(slug) = &input.tenant_id else {
            return Ok(Tenancy::New(NewTenant {
                slug: self.free_slug(&name, origin).await?,
                name,
                open_registration: false,
            }));
        };
        match self.db.find_tenant(slug, origin).await? {
            None => Ok(Tenancy::New(NewTenant { slug: slug.clone(), name, open_registration: false })),
            Some((_, false)) => Err(Error::RegistrationClosed),
            Some(_) if input.tenant_name.is_some() => {
                Err(Error::unprocessable("tenant_name", "is only for a new tenant, but this tenant exists"))
            }
            Some((tenant, true)) => Ok(Tenancy::Open(tenant)),
        }
    }

    /// A slug made from a name, with some digits where that is taken or too short.
    async fn free_slug(&self, name: &str, origin: &Origin) -> Result<String> {
        let slug = slug_of(name);
        if slug.len() >= 3 && self.db.find_tenant(&slug, origin).await?.is_none() {
            return Ok(slug);
        }
        let [a, b, c, d] = self.db.env().random_bytes();
        let base = if slug.is_empty() { "tenant" } else { &slug };
        Ok(format!("{base}-{a:02x}{b:02x}{c:02x}{d:02x}"))
    }

    /// Makes a user, and the tenant where it is a new one. The tenancy decides about the role.
    pub async fn add_user(&self, tenancy: Tenancy, new: NewUser, by: AddedBy) -> Result<User> {
        let tenant = match &tenancy {
            Tenancy::Existing(tenant, _) | Tenancy::Open(tenant) => *tenant,
            Tenancy::Invited(token) => token.tenant(),
            Tenancy::New(_) => self.db.env().uuid().into(),
        };
        match by {
            AddedBy::Themselves(origin) => {
                let newcomer = Actor::newcomer(tenant, self.db.env(), origin);
                let add = async |tx: &mut WriteTx| {
                    let user = tx.actor();
                    let added = insert(tx, user, tenancy, new).await?;
                    tx.enqueue(&SendVerification { user }).await?;
                    Ok(added)
                };
                self.db.write(&newcomer, add).await
            }
            AddedBy::Operator => {
                let add = async |tx: &mut WriteTx| {
                    let user = tx.new_id();
                    insert(tx, user, tenancy, new).await
                };
                self.db.write(&System::of(tenant), add).await
            }
        }
    }
}

/// Makes a user in the lease's tenant.
async fn insert(tx: &mut WriteTx, user: UserId, tenancy: Tenancy, mut new: NewUser) -> Result<Audited<User>> {
    new.username = new.username.as_deref().map(normalised);
    new.role = match tenancy {
        Tenancy::Existing(_, role) => tenant::lock_shared(tx).await?.map(|_| role).ok_or(Error::NotFound)?,
        Tenancy::Open(_) => match tenant::lock_shared(tx).await? {
            Some(RegistrationPolicy { is_open: true, is_suspended: false }) => Role::Viewer,
            _ => return Err(Error::RegistrationClosed), // since it was looked up
        },
        Tenancy::Invited(token) => invitations::accept(tx, &token, &new.email).await?,
        Tenancy::New(tenant) => {
            let _ = tenant::insert(tx, tenant).await?; // the user's own row is audited last
            Role::Owner
        }
    };
    users::insert(tx, user, new).await
}

/// ASCII letters and digits in lower case, all else as single hyphens.
pub fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars().take(MAX_SLUG) {
        match c.is_ascii_alphanumeric() {
            true => slug.push(c),
            false if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            false => {}
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        assert_eq!(slug_of("Acme, Inc."), "acme-inc");
        assert_eq!(slug_of("  --A  b--  "), "a-b");
        assert_eq!(slug_of("주식회사"), "");
        assert_eq!(slug_of(&"x".repeat(500)).len(), MAX_SLUG);
    }
}
