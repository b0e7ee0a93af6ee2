//! Tells what the text of an exec request starts.
//!
//! The target's shell reads the text; here it is read only so far as to know the few commands
//! whose streams are followed or named. Whatever is not plainly one of them, with plain words and
//! quotes, is [`Command::Other`].

use super::scp::Direction;
use bytes::Bytes;

/// What the text of an exec request starts, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// scp speaking its own protocol.
    Scp {
        /// Which way the files go.
        direction: Direction,
        /// The paths as the shell will give them to scp, patterns not expanded. Exactly one for
        /// [`Direction::Receive`].
        paths: Vec<Bytes>,
        /// `-r`: directories, too.
        recursive: bool,
        /// `-p`: times and modes, too.
        preserve: bool,
        /// `-d`: the path has to be a directory.
        into_directory: bool,
    },
    /// The far end of rsync.
    Rsync {
        /// Which way the files go.
        direction: Direction,
        /// The paths.
        paths: Vec<Bytes>,
    },
    /// The far end of git.
    Git {
        /// What git is to do there.
        service: GitService,
        /// The repository.
        path: Bytes,
    },
    /// An SFTP server, started as a command.
    SftpServer,
    /// Anything else.
    Other,
}

/// What git does on the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GitService {
    /// `git-upload-pack`: somebody clones or fetches.
    UploadPack,
    /// `git-receive-pack`: somebody pushes.
    ReceivePack,
    /// `git-upload-archive`: somebody takes an archive.
    UploadArchive,
}

impl GitService {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
            Self::UploadArchive => "git-upload-archive",
        }
    }
}

/// The longest text that is looked at, in bytes. A longer one is [`Command::Other`].
pub const COMMAND_BYTES_MAX: usize = 128 << 10;

/// Tells what the text of an exec request starts.
pub fn parse(text: &[u8]) -> Command {
    let known = words(text).and_then(|words| command(&words));
    known.unwrap_or(Command::Other)
}

fn command(words: &[Bytes]) -> Option<Command> {
    let (program, arguments) = words.split_first()?;
    match file_name(program) {
        b"scp" => scp(arguments),
        b"rsync" => rsync(arguments),
        b"git" => {
            let (service, arguments) = arguments.split_first()?;
            let service = match service.as_ref() {
                b"upload-pack" => GitService::UploadPack,
                b"receive-pack" => GitService::ReceivePack,
                b"upload-archive" => GitService::UploadArchive,
                _ => return None,
            };
            git(service, arguments)
        }
        b"git-upload-pack" => git(GitService::UploadPack, arguments),
        b"git-receive-pack" => git(GitService::ReceivePack, arguments),
        b"git-upload-archive" => git(GitService::UploadArchive, arguments),
        b"sftp-server" => Some(Command::SftpServer),
        _ => None,
    }
}

fn file_name(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(path, |slash| path.get(slash + 1..).unwrap_or_default())
}

/// The options of scp that a client gives to the far end.
fn scp(arguments: &[Bytes]) -> Option<Command> {
    let (mut recursive, mut preserve, mut into_directory) = (false, false, false);
    let mut direction = None;
    let mut arguments = arguments.iter();
    let mut paths: Vec<Bytes> = Vec::new();
    for argument in arguments.by_ref() {
        if argument.as_ref() == b"--" {
            break;
        }
        let Some(letters) = argument.strip_prefix(b"-").filter(|letters| !letters.is_empty())
        else {
            // Like getopt of BSD, not of GNU: nothing behind a path is an option.
            paths.push(argument.clone());
            break;
        };
        for letter in letters {
            match letter {
                b'r' => recursive = true,
                b'p' => preserve = true,
                b'd' => into_directory = true,
                b'v' | b'q' => {}
                b't' if direction.is_none() => direction = Some(Direction::Receive),
                b'f' if direction.is_none() => direction = Some(Direction::Send),
                _ => return None,
            }
        }
    }
    paths.extend(arguments.cloned());
    let direction = direction?;
    let enough = match direction {
        Direction::Receive => paths.len() == 1,
        Direction::Send => !paths.is_empty(),
    };
    enough.then_some(Command::Scp { direction, paths, recursive, preserve, into_directory })
}

/// `rsync --server [--sender] OPTIONS . PATH…`
fn rsync(arguments: &[Bytes]) -> Option<Command> {
    let (first, rest) = arguments.split_first()?;
    if first.as_ref() != b"--server" {
        return None;
    }
    let sends =
        rest.iter().take_while(|word| word.as_ref() != b".").any(|word| *word == "--sender");
    let direction = if sends { Direction::Send } else { Direction::Receive };
    let mut paths = rest.iter().skip_while(|word| word.starts_with(b"-"));
    // The dot stands where a path of the client's side would.
    if paths.next()?.as_ref() != b"." {
        return None;
    }
    Some(Command::Rsync { direction, paths: paths.cloned().collect() })
}

fn git(service: GitService, arguments: &[Bytes]) -> Option<Command> {
    let mut paths = arguments.iter().skip_while(|word| word.starts_with(b"--"));
    let path = paths.next()?.clone();
    paths.next().is_none().then_some(Command::Git { service, path })
}

/// Cuts a command line into words as a POSIX shell does (POSIX.1-2017, XCU 2.2 and 2.3). `None`
/// where more than words and quotes stands in it: several commands, redirections, variables,
/// substitutions. Patterns and `~` are left as they are, because they make words and nothing else.
fn words(text: &[u8]) -> Option<Vec<Bytes>> {
    if text.len() > COMMAND_BYTES_MAX {
        return None;
    }
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => words.extend(word.take().map(Bytes::from)),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next()? {
                        b'\'' => break,
                        quoted => word.push(quoted),
                    }
                }
            }
            b'"' => double_quoted(&mut bytes, word.get_or_insert_default())?,
            b'\\' => match bytes.next()? {
                b'\n' => return None,
                escaped => word.get_or_insert_default().push(escaped),
            },
            b'#' if word.is_none() => return None,
            b'\n' | b'\r' | b'|' | b'&' | b';' | b'<' | b'>' | b'(' | b')' | b'$' | b'`' | 0 => {
                return None;
            }
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word.map(Bytes::from));
    Some(words)
}

fn double_quoted(bytes: &mut impl Iterator<Item = u8>, word: &mut Vec<u8>) -> Option<()> {
    loop {
        match bytes.next()? {
            b'"' => return Some(()),
            b'$' | b'`' => return None,
            b'\\' => match bytes.next()? {
                b'\n' => return None,
                escaped @ (b'$' | b'`' | b'"' | b'\\') => word.push(escaped),
                other => word.extend([b'\\', other]),
            },
            plain => word.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(words: &[&'static str]) -> Vec<Bytes> {
        words.iter().map(|word| Bytes::from_static(word.as_bytes())).collect()
    }

    fn receives(paths: &[&'static str], recursive: bool, preserve: bool) -> Command {
        let (direction, into_directory) = (Direction::Receive, false);
        Command::Scp { direction, paths: text(paths), recursive, preserve, into_directory }
    }

    #[test]
    fn scp_as_its_clients_start_it() {
        assert_eq!(parse(b"scp -t /tmp"), receives(&["/tmp"], false, false));
        assert_eq!(parse(b"scp -v -r -p -t '/srv/a b'"), receives(&["/srv/a b"], true, true));
        assert_eq!(parse(b"/usr/bin/scp -rpt -- -x"), receives(&["-x"], true, true));
        assert_eq!(parse(b"scp  -q -t .\t"), receives(&["."], false, false));
        assert!(matches!(parse(b"scp -d -t a"), Command::Scp { into_directory: true, .. }));
        let sends = |paths: &[&'static str]| Command::Scp {
            direction: Direction::Send,
            paths: text(paths),
            recursive: false,
            preserve: false,
            into_directory: false,
        };
        assert_eq!(parse(b"scp -f *.log"), sends(&["*.log"]));
        assert_eq!(parse(b"scp -f ~/a\\ b \"c'd\""), sends(&["~/a b", "c'd"]));
        assert_eq!(parse(b"scp -f a -r"), sends(&["a", "-r"]));
        assert_eq!(parse(b"scp -f ''"), sends(&[""]));
    }

    #[test]
    fn what_is_not_plainly_scp_is_something_else() {
        for text in [
            "scp",
            "scp -t",
            "scp a b",
            "scp -t a b",
            "scp -t -f a",
            "scp -S x -t a",
            "scp -t -o a",
            "scp -t a; id",
            "scp -t a && id",
            "scp -t $(id)",
            "scp -t `id`",
            "scp -t \"$HOME\"",
            "scp -t a > b",
            "scp -t a\nid",
            "scp -t 'a",
            "scp -t \"a",
            "scp -t a\\",
            "scp -t a #b c",
            "A=b scp -t a",
            "sudo scp -t a",
            "(scp -t a)",
            "xscp -t a",
            "scp\\\n -t a",
            "",
            " ",
        ] {
            assert_eq!(parse(text.as_bytes()), Command::Other, "{text:?}");
        }
        assert_eq!(parse(&vec![b'a'; COMMAND_BYTES_MAX + 1]), Command::Other);
    }

    #[test]
    fn rsync_git_and_sftp_server() {
        assert_eq!(
            parse(b"rsync --server -vlogDtpre.iLsfxCIvu . /srv/data/"),
            Command::Rsync { direction: Direction::Receive, paths: text(&["/srv/data/"]) }
        );
        assert_eq!(
            parse(b"rsync --server --sender -logDtpre.iLsfxCIvu --delete . a b"),
            Command::Rsync { direction: Direction::Send, paths: text(&["a", "b"]) }
        );
        assert_eq!(parse(b"rsync -a x y"), Command::Other);
        let git = |service, path| Command::Git { service, path: Bytes::from_static(path) };
        let quoted = br"git-upload-pack '/srv/it'\''s'\!'.git'";
        assert_eq!(parse(quoted), git(GitService::UploadPack, b"/srv/it's!.git"));
        assert_eq!(parse(b"git receive-pack 'x.git'"), git(GitService::ReceivePack, b"x.git"));
        assert_eq!(parse(b"git-upload-archive --strict 'x'"), git(GitService::UploadArchive, b"x"));
        assert_eq!(parse(b"git status"), Command::Other);
        assert_eq!(parse(b"git-upload-pack a b"), Command::Other);
        assert_eq!(parse(b"/usr/lib/openssh/sftp-server -l INFO"), Command::SftpServer);
        assert_eq!(GitService::ReceivePack.name(), "git-receive-pack");
    }

    proptest! {
        /// A second command never hides behind one that is known, whatever stands between; a
        /// backslash could make its beginning a letter of a path.
        #[test]
        fn what_runs_more_than_one_command_is_no_known_one(
            start in prop::sample::select(&["scp -t a", "rsync --server . ", "git-upload-pack "][..]),
            text in prop::collection::vec(any::<u8>(), 0..60),
            more in prop::sample::select(&[";x", "|x", "&x", "\nx", "`x`", "$(x)", ">x"][..]),
        ) {
            prop_assume!(text.last() != Some(&b'\\'));
            let line = [start.as_bytes(), &text, more.as_bytes()].concat();
            prop_assert_eq!(parse(&line), Command::Other);
        }

        /// A quoted path comes out as it was, whatever is in it.
        #[test]
        fn quoted_paths(path in prop::collection::vec(1..=255u8, 0..40)) {
            let mut line = b"scp -t -- '".to_vec();
            for byte in &path {
                match byte {
                    b'\'' => line.extend_from_slice(b"'\\''"),
                    other => line.push(*other),
                }
            }
            line.push(b'\'');
            let Command::Scp { paths, .. } = parse(&line) else { panic!("not scp") };
            prop_assert_eq!(&paths[0][..], &path[..]);
        }
    }
}
