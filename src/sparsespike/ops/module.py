"""`Module`, base of modules that give events: which of PyTorch's hooks they take."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import nn


class Module(nn.Module):
    """A module whose output is a tensor only where `gives_tensor` says so.

    All forward hooks work. PyTorch's backward hooks look for tensors in a module's output, find none in
    `Spikes` or a `Current`, and would never run, or search for ever; here they are refused.
    """

    @property
    def gives_tensor(self) -> bool:
        """Whether the output is a tensor."""
        return False

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> Any:
        """As `nn.Module` has it, where the output is a tensor; the input's gradient comes as None.

        Raises:
            RuntimeError: where it is not.
        """
        if not self.gives_tensor:
            self._refuse("register_full_backward_hook")
        return super().register_full_backward_hook(hook, prepend)

    def register_full_backward_pre_hook(self, hook: Any, prepend: bool = False) -> Any:
        """As `register_full_backward_hook`."""
        if not self.gives_tensor:
            self._refuse("register_full_backward_pre_hook")
        return super().register_full_backward_pre_hook(hook, prepend)

    def register_backward_hook(self, hook: Any) -> NoReturn:
        """Refused: PyTorch's older hook takes tensors for inputs.

        Raises:
            RuntimeError: always.
        """
        self._refuse("register_backward_hook")

    def _refuse(self, name: str) -> NoReturn:
        raise RuntimeError(
            f"{name}: expected a module from tensors to tensors, found {type(self).__name__}; "
            "`spikes.value.register_hook` sees the gradient at the active entries, "
            "`weight.register_hook` that of a parameter"
        )
