//! The roles and kinds of users, as they are stored and compared.

crate::ranked_enum! {
    /// What a user is in their tenant; each role may do all that the ones below it may.
    pub enum Role {
        Viewer = (1, "viewer"),
        Analyst = (2, "analyst"),
        Editor = (3, "editor"),
        Admin = (4, "admin"),
        Owner = (5, "owner"),
    }
}

crate::text_enum! {
    pub enum UserKind {
        Person = "person",
        /// Acts for an API key and can't sign in.
        Service = "service",
    }
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Analyst, Self::Editor, Self::Admin, Self::Owner];

    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}
