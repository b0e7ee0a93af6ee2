//! A small file system that can be filled up, for what happens on a full disk.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// Size of the file system.
const DISK: &str = "64m";
/// Between two looks whether there is room that could be taken.
const FILL_EVERY: Duration = Duration::from_millis(5);

/// A file system in memory, unmounted when dropped.
pub struct SmallDisk {
    path: PathBuf,
    filler: Option<Filler>,
}

/// Keeps a file system full: what somebody gives back is taken at once.
struct Filler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl SmallDisk {
    /// Mounts one of 64 MiB at `path`, which is not there yet.
    ///
    /// Fails without root, and where no file system can be mounted: a test that then skips prints
    /// this.
    pub fn mount(path: &Path) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "not running as root");
        std::fs::create_dir(path).context("making a folder")?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={DISK}"), "loggia-test"]).arg(path);
        let output = command.output().context("starting mount")?;
        if !output.status.success() {
            bail!("mount: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self { path: path.to_path_buf(), filler: None })
    }

    /// The folder that it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Writes until nothing more fits, and keeps it so.
    pub fn fill(&mut self) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.ballast())?;
        let mut fill = move || {
            for block in [1 << 20, 4_096, 1] {
                let zeros = vec![0; block];
                while file.write_all(&zeros).is_ok() {}
            }
        };
        fill();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(FILL_EVERY);
                fill();
            }
        });
        self.filler = Some(Filler { stop, thread });
        Ok(())
    }

    /// Gives all room back.
    pub fn clear(&mut self) -> Result<()> {
        self.leave();
        std::fs::remove_file(self.ballast()).context("removing the ballast")
    }

    /// Ends the filler, which holds the file open.
    fn leave(&mut self) {
        if let Some(filler) = self.filler.take() {
            filler.stop.store(true, Ordering::Relaxed);
            // It only writes and sleeps.
            let _ = filler.thread.join();
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.leave();
        // Lazily: whatever still holds it lets go in a moment.
        let done = Command::new("umount").arg("-l").arg(&self.path).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("could not unmount {}", self.path.display());
        }
    }
}
