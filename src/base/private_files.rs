//! Files and folders that only the server's user can access. They are created with their final mode, whatever the umask
//! is. A umask could give access to others, or take it away from the server.
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The mode of files: only the owner reads and writes them.
pub const FILE: u32 = 0o600;
/// The mode of folders: only the owner has access.
pub const FOLDER: u32 = 0o700;

/// Creates a folder and its missing parents. A folder that exists keeps its mode.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(FOLDER)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()), // another process has just created it
        Err(error) => Err(error),
    }
}

/// Creates a file and opens it for writing. Fails with `AlreadyExists` if the file exists.
pub fn create_new(path: &Path) -> io::Result<File> {
    create(OpenOptions::new().write(true).create_new(true), path)
}

/// Creates an empty file. If another process creates it at the same moment, its content is kept.
pub fn create_empty(path: &Path) -> io::Result<()> {
    create(OpenOptions::new().write(true).create(true).truncate(false), path).map(drop)
}

fn create(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.mode(FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

/// Sets the mode if anybody but the owner has access to this file or folder. Returns whether that was the case.
pub fn restrict(path: &Path, mode: u32) -> io::Result<bool> {
    let is_open = is_open_to_others(path)?;
    if is_open {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(is_open)
}

/// Whether anybody but the owner has any access.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(mode_of(path)? & 0o077 != 0)
}

/// The permission bits.
pub fn mode_of(path: &Path) -> io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_private_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        create_folder(&inner).unwrap();
        assert_eq!([mode_of(&inner).unwrap(), mode_of(&folder.path().join("a")).unwrap()], [FOLDER; 2]);
        std::fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        create_folder(&inner).unwrap();
        assert_eq!(mode_of(&inner).unwrap(), 0o755, "somebody may have shared it on purpose");

        let file = inner.join("file");
        create_new(&file).unwrap();
        assert_eq!(mode_of(&file).unwrap(), FILE);
        assert_eq!(create_new(&file).unwrap_err().kind(), ErrorKind::AlreadyExists);
        std::fs::write(&file, "kept").unwrap();
        create_empty(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    }

    #[test]
    fn what_is_too_open_is_closed_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for mode in [0o644, 0o660, 0o601] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!([restrict(&file, FILE).unwrap(), restrict(&file, FILE).unwrap()], [true, false], "{mode:o}");
            assert_eq!(mode_of(&file).unwrap(), FILE);
        }
        std::fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        assert!(!restrict(&file, FILE).unwrap(), "a file that even its owner only reads is none of our business");
        assert_eq!(restrict(&folder.path().join("none"), FILE).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
