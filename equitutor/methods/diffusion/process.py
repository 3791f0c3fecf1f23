"""The diffusion process: add noise by a schedule, predict it, take it away step by step."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from equitutor.checks import check_maps
from equitutor.methods.diffusion.rotation import RotationPlan

__all__ = ["Diffusion"]

COSINE_END = 0.996  # at 1 nothing is left of the image, and an estimate of it divides by zero
Denoiser = Callable[[Tensor, Tensor], Tensor]


class Diffusion:
    """A chain x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise with t = 0 ... steps - 1, and its reverse.

    Args:
        schedule: "linear" (variances from 1e-4 to 0.02 in 1000 steps) or "cosine" (cut off where
            as little of the image is left as there). Both give a_t as a function of the share of
            the chain that is done: any number of steps ends at the same noise, and a chain of 100
            takes every tenth level of one of 1000.
        steps: length T of the chain.
        predict: what a model's output means. "noise", as in the paper; or "velocity",
            sqrt(a_t) noise - sqrt(1 - a_t) x_0, which small models learn faster: where nearly all
            is noise, an error in the noise is a much larger one in the image.

    `alpha_bar` holds a_t, float64 (T,). Every random number is drawn from the generator that is
    passed in, on the CPU, so the same seed gives the same images.

    Raises:
        ValueError: another schedule or prediction, or steps < 1.

    Source: Ho et al. 2020 (arXiv 2006.11239), Nichol and Dhariwal 2021, Song et al. 2021;
        velocity: Salimans and Ho 2022.

    >>> Diffusion("cosine").alpha_bar[-1] < 1e-4
    tensor(True)
    """

    def __init__(self, schedule: str = "cosine", steps: int = 1000, predict: str = "noise"):
        if type(steps) is not int or steps < 1:
            raise ValueError(f"steps must be an int >= 1, got {steps!r}")
        self.steps = steps
        share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        if schedule == "linear":
            level = _linear_level(share)
        elif schedule == "cosine":
            level = torch.cos((share * COSINE_END + 0.008) / 1.008 * math.pi / 2).square()
        else:
            raise ValueError(f"schedule must be 'linear' or 'cosine', got {schedule!r}")
        if predict not in ("noise", "velocity"):
            raise ValueError(f"predict must be 'noise' or 'velocity', got {predict!r}")
        self.schedule, self.predict = schedule, predict
        self.alpha_bar = level[1:] / level[0]

    def _level(self, t: Tensor | int, x: Tensor) -> Tensor:
        """Returns a_t as `x` is, (B, 1, 1, 1) or (1, 1, 1, 1); one for t = -1."""
        if not isinstance(t, Tensor) and (type(t) is not int or not -1 <= t < self.steps):
            raise ValueError(f"t must be one integer in -1 ... {self.steps - 1}, got {t!r}")
        t = torch.as_tensor(t).reshape(-1)
        if t.is_floating_point() or t.dtype == torch.bool or len(t) not in (1, len(x)):
            raise ValueError(
                f"t must be one integer, or one for each of {len(x)} images, "
                f"got {t.dtype} {tuple(t.shape)}"
            )
        levels = torch.cat([self.alpha_bar, self.alpha_bar.new_ones(1)]).to(t.device, x.dtype)
        # The level of t = -1 is the last. What lies outside the chain is sent to where there is
        # none, and index_select refuses it: a look at the numbers would make a GPU wait.
        row = t.where((t >= 0) & (t < self.steps), -1).where(t != -1, self.steps)
        return levels.index_select(0, row).to(x.device).view(-1, 1, 1, 1)

    def add_noise(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """Returns x_t for images x0 (B, C, H, W), steps t () or (B,), and noise of x0's shape.

        Raises ValueError where shapes do not fit, or t is an int outside -1 ... T - 1; IndexError
        where such a number stands in a tensor (on a GPU, later, an assertion there).

        >>> x0 = torch.ones(1, 1, 2, 2)
        >>> torch.equal(Diffusion().add_noise(x0, -1, torch.zeros_like(x0)), x0)
        True
        """
        check_maps(x0, "x0")
        _check_shape("noise", noise, x0)
        level = self._level(t, x0)
        return level.sqrt() * x0 + (1 - level).sqrt() * noise

    def noise_in(self, model: Denoiser, x: Tensor, t: Tensor) -> Tensor:
        """Returns the noise that `model` finds in `x` (B, C, H, W) at steps t (B,)."""
        out = _answer(model, x, t)
        if self.predict == "noise":
            return out
        level = self._level(t, x)
        return level.sqrt() * out + (1 - level).sqrt() * x

    def estimate(self, x: Tensor, t: Tensor | int, noise: Tensor, clip: float | None = None):
        """Returns the x_0 that `x` at step t comes from if `noise` is in it, clipped to +-clip."""
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be positive or None, got {clip!r}")
        _check_shape("noise", noise, x)
        level = self._level(t, x)
        x0 = (x - (1 - level).sqrt() * noise) / level.sqrt()
        return x0 if clip is None else x0.clamp(-clip, clip)

    def loss(self, model: Denoiser, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the mean squared error of the model's output, a scalar, at random steps."""
        check_maps(x0, "x0")
        if not isinstance(generator, torch.Generator):  # None would draw from the global one
            raise ValueError(f"generator must be a torch.Generator, got {generator!r}")
        t = torch.randint(self.steps, (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        out = _answer(model, self.add_noise(x0, t, noise), t.to(x0.device))
        if self.predict == "noise":
            return F.mse_loss(out, noise)
        level = self._level(t, x0)
        return F.mse_loss(out, level.sqrt() * noise - (1 - level).sqrt() * x0)

    def step(
        self,
        x: Tensor,
        t: int,
        to: int,
        noise: Tensor,
        fresh: Tensor | None = None,
        eta: float = 1.0,
        clip: float | None = None,
    ) -> Tensor:
        """Returns x at step `to` < t from x at step t and the noise predicted in it.

        With eta = 0 this is DDIM, without fresh noise. With eta = 1 it is DDPM's posterior, also
        when steps are left out.

        Args:
            x, noise, fresh: (B, C, H, W); `fresh` is needed where eta > 0.
            t: step of `x`. to: -1 ... t - 1; -1 is the clean image.
            eta: share of the fresh noise, in [0, 1].
            clip: bound on the estimate of the clean image.

        Raises:
            ValueError: `to` is not below t, eta outside [0, 1], or `fresh` is missing.
        """
        if type(to) is not int or not -1 <= to < t:
            raise ValueError(f"to must be in -1 ... {t - 1}, got {to!r}")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {eta!r}")
        if eta > 0 and fresh is None and to >= 0:
            raise ValueError("fresh must be noise of x's shape where eta > 0, got None")
        if eta > 0 and fresh is not None:
            _check_shape("fresh", fresh, x)
        now, then = self._level(t, x), self._level(to, x)
        x0 = self.estimate(x, t, noise, clip)
        if clip is not None:  # the noise that belongs to the clipped estimate
            noise = (x - now.sqrt() * x0) / (1 - now).sqrt()
        sigma = eta * ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
        y = then.sqrt() * x0 + (1 - then - sigma.square()).clamp_min(0).sqrt() * noise
        return y if eta == 0 or to < 0 else y + sigma * fresh

    def ddim_step(self, x: Tensor, t: int, to: int, noise: Tensor) -> Tensor:
        """Returns `step` without fresh noise: the same start gives the same image."""
        return self.step(x, t, to, noise, eta=0.0)

    def ddpm_step(self, x: Tensor, t: int, noise: Tensor, fresh: Tensor) -> Tensor:
        """Returns x at step t - 1, drawn from the posterior that belongs to the predicted noise."""
        return self.step(x, t, t - 1, noise, fresh)

    def times(self, steps: int) -> list[int]:
        """Returns `steps` numbers of steps, evenly from T - 1 down to 0, and then -1.

        >>> Diffusion(steps=1000).times(3)
        [999, 500, 0, -1]
        """
        if type(steps) is not int or not 1 <= steps <= self.steps:
            raise ValueError(f"steps must be an int in 1 ... {self.steps}, got {steps!r}")
        if steps == 1:
            return [self.steps - 1, -1]
        numbers = torch.linspace(self.steps - 1, 0, steps, dtype=torch.float64)
        return [*numbers.round().long().tolist(), -1]

    @torch.no_grad()
    def sample(
        self,
        model: Denoiser,
        shape: tuple[int, int, int, int],
        steps: int = 50,
        eta: float = 0.0,
        rotate: RotationPlan | None = None,
        clip: float | None = 1.0,
        generator: torch.Generator | None = None,
        start: Tensor | None = None,
        trace: list | None = None,
    ) -> Tensor:
        """Returns images (B, C, H, W) made from noise.

        Args:
            model: function (x, t) to what `predict` says.
            shape: of the result.
            steps: how many of the chain's steps are taken; all of them with eta = 1 is DDPM.
            eta: 0 for DDIM, 1 for DDPM.
            rotate: turns the image a little after each step, as the plan says.
            clip: bound on each estimate of the clean image, 1 for images in [-1, 1]; None for none.
            generator: source of all noise; one of seed 0, if None.
            start: first noise, of `shape`; drawn, if None.
            trace: a list that gets x after each step.

        Raises:
            ValueError: an argument outside these.

        Source: Anjum 2024 (arXiv 2411.09174) for the rotation.

        >>> chain, gray = Diffusion(), torch.zeros(1, 1, 4, 4)
        >>> knows = lambda x, t: x / (1 - chain.alpha_bar[t[0]]).sqrt()  # that images are gray
        >>> torch.allclose(chain.sample(knows, (1, 1, 4, 4), steps=5), gray, atol=1e-5)
        True
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        if len(shape) != 4 or not all(type(n) is int and n >= 1 for n in shape):
            raise ValueError(f"shape must be four ints >= 1, got {tuple(shape)}")
        if start is not None and tuple(start.shape) != tuple(shape):
            raise ValueError(f"start must have shape {tuple(shape)}, got {tuple(start.shape)}")
        if start is not None:
            check_maps(start, "start")
        times = self.times(steps)
        turns = [0.0] * steps if rotate is None else rotate.increments(steps)
        x = torch.randn(shape, generator=generator) if start is None else start
        total = 0.0
        for t, to, turn in zip(times, times[1:], turns, strict=False):
            noise = self.noise_in(model, x, torch.full((len(x),), t, device=x.device))
            fresh = None
            if eta > 0:
                fresh = torch.randn(shape, generator=generator).to(x)
                if rotate is not None and rotate.turn_noise and total:
                    fresh = rotate.rotate(fresh, total)
            x = self.step(x, t, to, noise, fresh, eta, clip)
            if turn:
                x, total = rotate.rotate(x, turn), total + turn
            if trace is not None:
                trace.append(x)
        return x


def _linear_level(share: Tensor) -> Tensor:
    """Returns a_t after a share of the chain of 1000 steps; between two steps its log is linear."""
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    log = F.pad(torch.log1p(-beta).cumsum(0), (1, 0))  # after 0 ... 1000 steps
    done = share * 1000
    before = done.long().clamp(max=999)
    return (log[before] + (done - before) * (log[before + 1] - log[before])).exp()


def _answer(model: Denoiser, x: Tensor, t: Tensor) -> Tensor:
    """Returns model(x, t); raises ValueError where its shape is not that of `x`."""
    out = model(x, t)
    if out.shape != x.shape:
        raise ValueError(f"model must return shape {tuple(x.shape)}, got {tuple(out.shape)}")
    return out


def _check_shape(name: str, value: Tensor, x: Tensor) -> None:
    """Returns nothing; raises ValueError where torch would use one noise for several images."""
    if value.shape != x.shape:
        raise ValueError(f"{name} must have shape {tuple(x.shape)}, got {tuple(value.shape)}")
