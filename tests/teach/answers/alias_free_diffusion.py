"""Assignment 7: wrong answers as changes of the solution, right ones in another style."""

WRONG = {
    "q1": [
        ("torch.exp(-2j", "torch.exp(2j"),  # to the left
        ("factor[-1] = math.cos(math.pi * s)", "factor[-1] = 0"),
        ("if n % 2 == 0:", "if True:"),
    ],
    "q2": [
        ("for fy in steps:", "for fy in steps[10:11]:"),  # waves along rows only
        ("if (down(torch.ones(1, 1, n, n)) - 1).abs().max() > 0.01:\n        return False", ""),
        ("elif ((after / before - 1).abs() > 0.1).any():\n                return False", ""),
        ("steps = torch.arange(-10, 11) / n", "steps = torch.tensor([0.0, 0.5])"),
        ("after > 0.03 * before.max()", "after > 0.3 * before.max()"),
        ("0.15 < top < 0.35", "top > 0.15"),
    ],
    "q3": [
        (", n * m) * m", ", n * m)"),
        ("return torch.fft.irfft(spectrum, n) / m", "return act(fine)[..., ::m]"),  # no filter
        ("spectrum = torch.fft.rfft(act(fine))[..., : n // 2 + 1]\n    return torch.fft.irfft(spectrum, n) / m",
         "return act(x)"),
        ("fine = torch.fft.irfft(torch.fft.rfft(x), n * m) * m", "fine = x.repeat_interleave(m, -1)"),
    ],
}  # fmt: skip
RIGHT = {
    "q1": [
        """
def slide(x, s):
    n = x.shape[-1]
    f = torch.fft.fftfreq(n) * n
    factor = torch.complex(torch.cos(2 * math.pi * f * s / n), -torch.sin(2 * math.pi * f * s / n))
    if n % 2 == 0:
        factor[n // 2] = factor[n // 2].real + 0j
    return torch.fft.ifft(torch.fft.fft(x) * factor).real
""",
        """
def slide(x, s):
    n = x.shape[-1]
    d = torch.arange(n)[:, None] - torch.arange(n) - s  # a matrix, without an FFT
    top = (n - 1) // 2
    K = 1 + 2 * sum((torch.cos(2 * math.pi * f * d / n) for f in range(1, top + 1)), torch.zeros_like(d))
    if n % 2 == 0:
        K = K + math.cos(math.pi * s) * torch.cos(math.pi * (d + s))
    return x @ (K / n).T
""",
    ],
    "q2": [
        """
def is_clean(down):
    n, rms = 20, lambda t: t.square().mean().sqrt().item()
    row, column = torch.meshgrid(torch.arange(n) * 1.0, torch.arange(n) * 1.0, indexing="ij")
    if abs(down(torch.ones(1, 1, n, n)) - 1).max() > 0.01:
        return False
    for i in range(-10, 11):
        for j in range(0, 11):
            if (i, j) == (0, 0):
                continue
            high = max(abs(i), j) >= 7
            if not high and max(abs(i), j) > 3:
                continue
            strengths = []
            for phase in (0.1, 0.6, 1.2, 1.9):
                x = torch.cos(2 * math.pi * (i * row + j * column) / n + phase)[None, None]
                strengths.append((rms(down(x)), rms(x)))
            top = max(b for _, b in strengths)
            if high and max(a for a, _ in strengths) > 0.03 * top:
                return False
            if not high and any(abs(a / b - 1) > 0.1 for a, b in strengths):
                return False
    return True
""",
        """
def is_clean(down):
    n = 40
    t = 2 * math.pi * torch.arange(n) / n
    flat = down(torch.full((1, 1, n, n), 2.0)) / 2
    if not ((flat > 0.99) & (flat < 1.01)).all():
        return False
    few = [-20, -17, -14, -6, -3, 0, 2, 5, 6, 14, 15, 19, 20]
    for fy in few:
        for fx in few:
            k = max(abs(fy), abs(fx))
            if k == 0:
                continue
            angle = fy * t[:, None] + fx * t
            for phi in (0.0, math.pi / 4, math.pi / 2):
                x = torch.cos(angle + phi).view(1, 1, n, n)
                size = x.pow(2).mean() ** 0.5
                if size < 0.1:  # the highest wave, seen at its zeros
                    size = torch.tensor(0.7)
                    if k <= 6:
                        continue
                ratio = down(x).pow(2).mean() ** 0.5 / size
                if (k >= 14 and ratio > 0.045) or (k <= 6 and abs(ratio - 1) > 0.1):
                    return False
    return True
""",
    ],
    "q3": [
        """
def filtered(x, act, m):
    n = x.shape[-1]
    spectrum = torch.fft.fft(x)
    wide = torch.zeros(*x.shape[:-1], n * m, dtype=spectrum.dtype)
    h = n // 2
    wide[..., : h + 1], wide[..., n * m - h :] = spectrum[..., : h + 1], spectrum[..., n - h :]
    y = torch.fft.fft(act(torch.fft.ifft(wide).real * m))
    return torch.fft.ifft(torch.cat([y[..., : h + 1], y[..., n * m - h :]], -1)).real / m
""",
        """
def filtered(x, act, m):
    n, h = x.shape[-1], x.shape[-1] // 2
    def kernel(to, source):
        d = torch.arange(to)[:, None] / to - torch.arange(source) / source
        return (1 + 2 * sum(torch.cos(2 * math.pi * f * d) for f in range(1, h + 1)))
    return act(x @ kernel(n * m, n).T / n) @ kernel(n, n * m).T / (n * m)
""",
    ],
}
