//! The secrets of a development server. Each is made once, in the data folder, and only its owner can read it.
use crate::base::private_files;
use crate::base::private_files::{FILE, FOLDER};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Reads the secret in this file. If the file does not exist, makes the secret first, from 32 random bytes in
/// base64url. Any number of processes may start at once: all of them get the same secret.
pub fn ensure_development_secret(path: &Path, random: &dyn Fn() -> [u8; 32]) -> io::Result<String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if let Some(secret) = existing(path)? {
        // A copied file may have looser permissions, which are corrected here. Errors are ignored, because a secret is
        // usable even if we may not change its file.
        for (place, mode) in [(path, FILE), (folder, FOLDER)] {
            let _ = private_files::restrict(place, mode);
        }
        return Ok(secret);
    }
    private_files::create_folder(folder)?;
    let draft = draft_path(path, random);
    write_private(&draft, &URL_SAFE_NO_PAD.encode(random()))?;
    let published = publish(&draft, path);
    std::fs::remove_file(&draft)?;
    published?;
    existing(path)?.ok_or_else(|| io::Error::from(ErrorKind::NotFound))
}

/// Reads the secret in this file. If there is none, returns a stand-in that is long enough for a secret. Never writes.
pub(super) fn existing_or_imagined(path: &Path) -> io::Result<String> {
    Ok(existing(path)?.unwrap_or_else(|| "made when the server first starts".to_owned()))
}

fn existing(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(secret) => Ok(Some(secret.trim_end().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name that no other process takes. It is random, because containers that share a folder may have the same process
/// ids.
fn draft_path(path: &Path, random: &dyn Fn() -> [u8; 32]) -> PathBuf {
    path.with_extension(format!("{}.draft", &URL_SAFE_NO_PAD.encode(random())[..16]))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = private_files::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Gives the finished draft its name, unless another process was first. This is done by a hard link, because renaming
/// would replace an existing file.
fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(draft, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU8, Ordering};

    fn mode(path: &Path) -> u32 {
        private_files::mode_of(path).unwrap()
    }

    #[test]
    fn a_secret_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/secrets/jwt_secret");
        let made = ensure_development_secret(&path, &|| [7; 32]).unwrap();
        assert_eq!(made, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
        assert_eq!(ensure_development_secret(&path, &|| [8; 32]).unwrap(), made);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        std::fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(ensure_development_secret(&path, &|| [8; 32]).unwrap(), made);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700), "they are closed to others again");
    }

    #[test]
    fn processes_that_start_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets/jwt_secret");
        let next = AtomicU8::new(0);
        let random = || [next.fetch_add(1, Ordering::Relaxed); 32];
        let secrets: BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..16).map(|_| scope.spawn(|| ensure_development_secret(&path, &random).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(secrets.len(), 1);
    }

    #[test]
    fn looking_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets/jwt_secret");
        assert!(existing_or_imagined(&path).unwrap().len() >= 32);
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(ensure_development_secret(&folder.path().join("file/secrets/key"), &|| [7; 32]).is_err());
    }
}
