//! Makes a tenant and its people.
use super::Amounts;
use crate::api::demo::words::{COMPANY_KINDS, COMPANY_NAMES, FIRST_NAMES, LAST_NAMES};
use crate::api::demo::{Company, Dice, Person};
use crate::app::Parts;
use crate::auth::Role;
use crate::base::error::Error;
use crate::db::{Action, Change, Changes, Email, System, WriteTx};
use crate::resources::tenant::NewTenant;
use crate::resources::users::NewUser;
use crate::resources::{tenant, users};
use anyhow::bail;

/// How many people come first and have one role each. The name of the role is in the address of each of them.
pub const ROLES: usize = Role::ALL.len();

/// The roles of all other people, in turn.
const OTHERS: [Role; 4] = [Role::Editor, Role::Analyst, Role::Editor, Role::Viewer];

/// How many tenants of one name there can be.
const NAMESAKES: u32 = 10_000;

/// Makes a tenant with this number of people, under the first name that is free.
pub async fn company(
    parts: &Parts,
    amounts: &Amounts,
    seed: [u64; 2],
    users: u32,
    hash: &str,
) -> anyhow::Result<Company> {
    for number in 1..=NAMESAKES {
        let mut dice = Dice::at(&seed);
        let (first, second) = (dice.one(&COMPANY_NAMES), dice.one(&COMPANY_KINDS));
        let (mut name, mut slug) = (format!("{first} {second}"), format!("{first}-{second}").to_lowercase());
        if number > 1 {
            (name, slug) = (format!("{name} {number}"), format!("{slug}-{number}"));
        }
        let id = parts.env.uuid().into();
        let people = (0..users).map(|place| person(parts, &mut dice, place, &slug)).collect();
        let company = Company { id, slug, people, seed, now: parts.env.now().into() };
        match insert(parts, &company, amounts, name, hash).await {
            Err(Error::Conflict(_)) => {} // the name of the tenant or of one of its people is taken
            result => return Ok(result.map(|()| company)?),
        }
    }
    bail!("there are {NAMESAKES} tenants of one name: try another --seed")
}

/// Stores the tenant and its people with their audit rows. One more audit row has the numbers of the records that
/// follow.
async fn insert(
    parts: &Parts,
    company: &Company,
    amounts: &Amounts,
    name: String,
    hash: &str,
) -> crate::base::error::Result<()> {
    let Company { id, slug, people, .. } = company;
    let new = NewTenant { slug: slug.clone(), name, open_registration: false };
    let insert = async |tx: &mut WriteTx| {
        let _ = tenant::insert(tx, new).await?;
        for Person { id, name, username, email, role } in people {
            let new = NewUser {
                email: Email::of_stored(email),
                username: Some(username.clone()),
                name: name.clone(),
                role: *role,
                password_hash: hash.to_owned(),
                is_superuser: false,
                email_verified: true,
            };
            let _ = users::insert(tx, *id, new).await?;
        }
        let amounts = Changes::created(&amounts.as_json());
        tx.happened(Change::of(Action::Seed, *id).telling(amounts)).await
    };
    parts.db.write(&System::of(*id), insert).await
}

fn person(parts: &Parts, dice: &mut Dice, place: u32, slug: &str) -> Person {
    let place = place as usize;
    let (first, last) = (FIRST_NAMES[place % FIRST_NAMES.len()], dice.one(&LAST_NAMES));
    let again = match place / FIRST_NAMES.len() {
        0 => String::new(),
        n => (n + 1).to_string(),
    };
    let local = format!("{}{again}", first.to_lowercase());
    let role = match Role::ALL.iter().rev().nth(place) {
        Some(role) => *role,
        None => OTHERS[place % OTHERS.len()],
    };
    Person {
        id: parts.env.uuid().into(),
        name: format!("{first} {last}"),
        username: format!("{local}.{slug}"),
        // RFC 2606: the domain belongs to nobody.
        email: format!("{}@{slug}.example", if place < ROLES { role.name() } else { &local }),
        role,
    }
}
