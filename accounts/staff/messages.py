"""What crosses REST about staff accounts, as it comes in. Lengths are those of the table."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from accounts.staff.model import PASSWORD_MAX, Role, Sex, Status

# No control characters. The look-ahead is for "$", which also stands before a last line feed.
_LINE = r"^[^\x00-\x1f\x7f]*(?!\n)$"

LoginName = Annotated[str, Meta(min_length=1, max_length=20, pattern=_LINE)]
Nickname = Annotated[str, Meta(max_length=100, pattern=_LINE)]
Mobile = Annotated[str, Meta(max_length=20, pattern=r"^[0-9+() -]*(?!\n)$")]
Email = Annotated[
    str, Meta(max_length=100, pattern=r"^([^@\x00-\x20\x7f]+@[^@\x00-\x20\x7f]+)?(?!\n)$")
]
Avatar = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[0-9A-Za-z!_.*'()/-]*(?!\n)$",
        description="The key of an object in the storage, not an address.",
    ),
]
# Whether it is a good one is judged by the model, which can say why.
Password = Annotated[str, Meta(max_length=PASSWORD_MAX)]
Code = Annotated[str, Meta(max_length=6, pattern=r"^([0-9]{6})?(?!\n)$")]
StoreIds = Annotated[
    tuple[Annotated[int, Meta(gt=0)], ...],
    Meta(max_length=500, description="The stores it is kept to; none: it sees all."),
]
Reason = Annotated[str, Meta(max_length=200, pattern=_LINE, description="For the audit.")]


class SignIn(msgspec.Struct, frozen=True):
    """totp: the code of the second factor, where the account has one."""

    login_name: Annotated[str, Meta(max_length=100)]
    password: Password
    totp: Code = ""


class OwnPatch(msgspec.Struct, kw_only=True, frozen=True):
    """What one may change of oneself. Login name, role and status are not among it."""

    nickname: Nickname | UnsetType = UNSET
    mobile: Mobile | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    sex: Sex | UnsetType = UNSET
    avatar: Avatar | UnsetType = UNSET


class StaffPatch(OwnPatch, kw_only=True, frozen=True):
    """What is absent stays as it is, and an empty password keeps the old one."""

    login_name: LoginName | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    store_ids: StoreIds | UnsetType = UNSET
    password: Password = ""
    reason: Reason = ""


class StaffNew(msgspec.Struct, kw_only=True, frozen=True):
    login_name: LoginName
    password: Password
    role: Role
    nickname: Nickname = ""
    mobile: Mobile = ""
    email: Email = ""
    sex: Sex = 0
    avatar: Avatar = ""
    status: Status = 1
    store_ids: StoreIds = ()
    reason: Reason = ""


class PasswordChange(msgspec.Struct, frozen=True):
    old_password: Password
    new_password: Password


class PasswordReset(msgspec.Struct, frozen=True):
    """remove_totp: for who has lost the authenticator as well."""

    new_password: Password
    remove_totp: bool = False
    reason: Reason = ""


class Proof(msgspec.Struct, frozen=True):
    """The password once more, before the second factor is changed."""

    password: Password


class TotpCode(msgspec.Struct, frozen=True):
    totp: Annotated[str, Meta(pattern=r"^[0-9]{6}(?!\n)$")]


def given(message: OwnPatch | StaffNew) -> dict[str, object]:
    """The columns that were sent, or have a default of their own."""
    fields = ((name, getattr(message, name)) for name in message.__struct_fields__)
    others = {"password", "reason"}
    return {name: value for name, value in fields if value is not UNSET and name not in others}
