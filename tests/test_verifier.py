"""The verifier against tables of pairs, properties, and inputs that were made to hurt it.

The tables are ours. A line `gold == answer ¦ answer` lists answers that are right, `gold != ..` answers that are wrong.
"""

import random
import re
import string
import subprocess
import sys
import threading
import time

import pytest

import verifier
from engine import phrases
from verifier import extract_answer, is_equiv, understood, verify

TABLE = r"""# integers
18 == \mathbf{1 8} ¦ USD 18 ¦ \pounds 18 ¦ \text{USD }18
18 == \color{red}{18} ¦ \textcolor{blue}{18} ¦ \large 18 ¦ \Large\textbf{18} ¦ \texttt{18} ¦ \emph{18} ¦ \mathtt{18}
18 == \ensuremath{18}
18 != \mathbf{1 9} ¦ 1\hspace{1pt}8 ¦ 18\hspace{9pt}1
10 == {5 \choose 2} ¦ \binom52
10 != {5 \choose 1}
17 == 17. ¦ 17.0 ¦ $17$ ¦ \(17\) ¦ 017 ¦ +17 ¦ x=17 ¦ 34/2 ¦ \frac{34}{2} ¦ 10+7 ¦ \text{17} ¦ \mathbf{17} ¦ 17\,.
17 == {17} ¦ \{17\} ¦ (17) ¦ １７ ¦ \boxed{17} ¦ 17 cm ¦ the answer is 17 ¦ x = 17 ¦ 2+15=17
17 != -17 ¦ 18 ¦ 17 or 18 ¦ 17, 18 ¦ not 17 ¦ 17? ¦ \{17,18\} ¦ 17<x<18 ¦ [17,18] ¦ (17,18) ¦ 17x ¦ x ¦ 16.9999
17 != 17.0001 ¦ 1.7 ¦ 170 ¦ 17%%%%% ¦ 5=17 ¦ 17=5 ¦ 17=18 ¦ x=17=18 ¦ 17! ¦ nan ¦ 0/0 ¦ inf ¦ 17\pm1 ¦ 15 to 17
17 != 17 million ¦ 17-17 ¦ about 17 ¦ 17;18 ¦ 17^2 ¦ \sqrt{17} ¦ 1 7 ¦ [-\infty,\infty] ¦ 17 and not 18 ¦ 17 or more
17 != at least 17 ¦ 5, 6, 17 ¦ \frac{17}{0} ¦ 17 is the answer or 18 ¦ \text{the answer is whatever is right}
17 != anything ¦ .* ¦ 17|18 ¦ __import__('os') ¦ eval(17) ¦ lambda: 17 ¦ True
12345 == 12,345 ¦ 12{,}345 ¦ 12\,345 ¦ 12 345 ¦ 12,\!345 ¦ $12,345$ ¦ \$12,345 ¦ 12345.00
12345 != 12346 ¦ 12344 ¦ 12,346 ¦ 1234.5 ¦ 12.345 ¦ 12, 345 and 6
11,\! 111,\! 111,\! 100 == 11111111100 ¦ 11,111,111,100
11,\! 111,\! 111,\! 100 != 11111111101
1,625 == 1625 ¦ 1{,}625
1,625 != 1.625 ¦ 1626
-5 == −5 ¦ –5 ¦ - 5 ¦ (-5) ¦ -\frac{10}{2}
-5 != 5 ¦ --5 ¦ +5
0 == 0.0 ¦ -0 ¦ x=0 ¦ 5-5
0 != 1 ¦ \emptyset ¦ none ¦ O ¦ 1e-30 ¦ 0.0001 ¦ x
1024 == 2^{10} ¦ 2^10 ¦ 4^5 ¦ 2 \cdot 512
1024 != 2^{11} ¦ 2^10+1 ¦ 210
2^{2019} - 2020 == 2^{2019}-2020 ¦ -2020+2^{2019} ¦ 2\cdot 2^{2018}-2020
2^{2019} - 2020 != 2^{2019}-2021 ¦ 2^{2020}-2020 ¦ 2^{2019}
2^2023 == 2^{2023}
2^2023 != 2^{2022} ¦ 4046
10^{100} == 10^{99}\cdot 10
10^{100} != 10^{101} ¦ 10^{100}+1
5000000 == 5 million ¦ 5,000,000 ¦ 5\times10^6 ¦ 5e6
5000000 != 5 ¦ 5 billion
120 == 5! ¦ \binom{10}{3}
120 != 5!!
3 == 3\; ¦ =3 ¦ 3\\ ¦ three ¦ 2^{2}-1
3 != 3... ¦ 3, ... ¦ 3-5 ¦ 3–5 ¦ 3(6) ¦ 3 dozen ¦ 3[6] ¦ 3{6} ¦ 3\text{ or more} ¦ 3 or 5
12 == "12" ¦ '12' ¦ `12` ¦ 12\checkmark ¦ \boxed{\boxed{12}} ¦ \text{Total: } 12
12 == \text{There are } 12 \text{ ways} ¦ \text{minimum value is } 12 ¦ Volume: 12
12 != not twelve: 11 ¦ 12 sevenths ¦ 12 twelfths ¦ 12 doubled ¦ 12 pairs ¦ 12 (not 13) ¦ 42 \pmod{30}
-\frac34 == negative 3/4 ¦ minus 3/4
6 != 1\overline6 ¦ 1\dot6 ¦ \overline{6+0}
120,000 == 120000 ¦ (120,000) ¦ \(120,000\) ¦ 120，000
120,000 != 120,0 ¦ 120,00 ¦ 0, 120

# decimals
3.5 == 3{,}5 ¦ {7 \over 2}
3.5 != 3{,}500 ¦ 3{,}6
0.33 == .33 ¦ 0.333 ¦ 1/3 ¦ \frac13 ¦ 33/100 ¦ 0.330
0.33 != 0.3 ¦ 0.34 ¦ 0.4 ¦ 33 ¦ 0.033 ¦ -0.33 ¦ 0.336
2.50 == 2.5 ¦ 5/2 ¦ 2\frac12 ¦ 2.501
2.50 != 2.51 ¦ 2.6 ¦ 25 ¦ 3
27.0 == 27
27.0 != 27.04 ¦ 26.96 ¦ 270
3.14 == \pi ¦ 3.1416
3.14 != 3.1 ¦ 3 ¦ 3.15 ¦ 22/7 or 3
-0.5 == -1/2 ¦ -.5 ¦ -\frac{1}{2} ¦ -0.50
-0.5 != 0.5 ¦ -0.4 ¦ -5
0.005 == 5e-3 ¦ 5\times10^{-3} ¦ 1/200
0.005 != 0 ¦ 0.05 ¦ 0.0

# fractions
\frac{3}{4} == \frac{3}{4}=0.75
\frac{3}{4} != 3/4 or 0.7 ¦ 3/4, 3/4 ¦ 3/4, 0.75, 6/8, 9/12
\frac16 == {1 \over 6}
\frac16 != 1\dot6 ¦ 0.\dot{1}\dot{6} ¦ 0.1\dot{7}
\frac{1}{2} == 1/2 ¦ \frac12 ¦ \dfrac{1}{2} ¦ \tfrac12 ¦ 0.5 ¦ .5 ¦ 2/4 ¦ \frac{2}{4} ¦ ½ ¦ \frac{1}2 ¦ \frac 1 2
\frac{1}{2} == \left(\frac{1}{2}\right) ¦ \frac{-1}{-2} ¦ \displaystyle\frac{1}{2} ¦ 1 / 2 ¦ 1\div 2 ¦ 2^{-1} ¦ 0.50
\frac{1}{2} == \cfrac{1}{2} ¦ 50\%
\frac{1}{2} != 2 ¦ -1/2 ¦ 1/3 ¦ 0.51 ¦ \frac{1}{3} ¦ 12 ¦ 0.05 ¦ 1,2 ¦ 5 ¦ 50 ¦ 0.49999
-\frac{1}{2} == \frac{-1}{2} ¦ \frac{1}{-2} ¦ -1/2 ¦ -0.5 ¦ -\left(\frac12\right)
-\frac{1}{2} != \frac12 ¦ \frac{-1}{-2}
\frac{1}{3} == 1/3 ¦ 2/6
\frac{1}{3} != 0.333 ¦ 0.3333333333 ¦ 0.33 ¦ 3
\frac43 == 4/3 ¦ 1\frac13 ¦ 1 1/3 ¦ 1 \frac{1}{3}
\frac43 != 1.33 ¦ 3/4 ¦ 43
137 \frac{1}{2} == 137.5 ¦ 275/2 ¦ 137\frac{1}{2} ¦ 137 1/2 ¦ 137½
137 \frac{1}{2} != 68.5 ¦ 137 ¦ 137/2
-3\frac12 == -3.5 ¦ -7/2
-3\frac12 != -2.5 ¦ 3.5
\frac9{19} == 9/19 ¦ \frac{9}{19}
\frac9{19} != 9/18
\frac{270}7\text{ degrees} == \frac{270}{7} ¦ \frac{270}{7}^\circ ¦ 270/7
\frac{270}7\text{ degrees} != 270/8

# choices
A == (A) ¦ A. ¦ A) ¦ \text{A} ¦ \text{(A)} ¦ \mathrm{A} ¦ A: 5 ¦ A. 5 ¦ (A) 5 ¦ option A ¦ Option (A) ¦ choice A ¦ a
A == **A** ¦ \textbf{(A)} ¦ \textbf{(A) }5 ¦ 选A ¦ A选项 ¦ The answer is A ¦ \mathbf{A} ¦ \boxed{A}
A != B ¦ ABCD ¦ A or B ¦ A, B ¦ A and B ¦ AB ¦ not A ¦ A. 5 B. 6 ¦ A/B ¦ any ¦ A B C D ¦ A;B ¦ B. A ¦ either A or B
A != A|B
ABD == A, B, D ¦ A、B、D ¦ A,B,D ¦ DBA ¦ A B D ¦ A and B and D ¦ (A)(B)(D) ¦ \text{A}, \text{B}, \text{D} ¦ A,B and D
ABD == ABD. ¦ \text{ABD} ¦ A；B；D
ABD != AB ¦ ABCD ¦ ACD ¦ A ¦ A or B or D ¦ ABDE
\text{(B)} == B ¦ (B) ¦ \text{B} ¦ B.
\text{(B)} != C ¦ (C)
C. $\{x \mid -3<x<4\}$ == C ¦ \{x \mid -3<x<4\} ¦ (-3,4) ¦ (C) ¦ C. $\{x|-3<x<4\}$
C. $\{x \mid -3<x<4\}$ != B ¦ (-3,5) ¦ -3 ¦ C or D
$\textcircled{1}\textcircled{3}\textcircled{4}$ == ①③④ ¦ \textcircled{1}\textcircled{3}\textcircled{4}
$\textcircled{1}\textcircled{3}\textcircled{4}$ != ①③ ¦ ①②③④ ¦ 12
C == C) 12 ¦ \textbf{(C)}\ 12 ¦ C. 12 ¦ (c)
C != C or D ¦ B (not C) ¦ \text{(C)}+1 ¦ \text{(C)}, 3 ¦ C? D?
C == (C) 3 and 5 ¦ C. I and II only ¦ **C**: 12 ¦ C)** 12 ¦ Choice C: 5 ¦ option C: 12
C != (C) or (D) ¦ C. or D. ¦ (C) or 7

# several
1, 2, 3 == [1, 2, 3] ¦ n=1,2,3 ¦ n \in \{1,2,3\}
1, 2, 3 != [1,3] ¦ [3,2,1] ¦ 123
1,-2 == 1, -2 ¦ -2, 1 ¦ \{1,-2\} ¦ 1 and -2 ¦ -2 or 1 ¦ x=1, x=-2 ¦ x = 1 \text{ or } x = -2 ¦ 1 \text{ and } -2
1,-2 == 1;-2 ¦ $1$ and $-2$ ¦ x=1,-2 ¦ x_1=1, x_2=-2
1,-2 != 1 ¦ -2 ¦ 1,2 ¦ 1,-2,3 ¦ -1,2 ¦ 1,1
3, 5, 7 == 3,5,7 ¦ 7, 5, 3 ¦ 3, 5, and 7 ¦ \{3,5,7\} ¦ (3,5,7)
3, 5, 7 != 3,5 ¦ 3,5,8 ¦ 357 ¦ 15
1 \pm \sqrt{19} == 1+\sqrt{19}, 1-\sqrt{19} ¦ 1\pm\sqrt{19} ¦ x=1\pm\sqrt{19} ¦ 1±√19 ¦ 1-\sqrt{19},1+\sqrt{19}
1 \pm \sqrt{19} == \{1-\sqrt{19},1+\sqrt{19}\}
\pm5 == \pm5\% ¦ \pm5 cm
1 \pm \sqrt{19} != 1+\sqrt{19} ¦ 1 \pm \sqrt{18} ¦ -1\pm\sqrt{19}
\{1\pm\sqrt{5},-2\} == -2, 1+\sqrt5, 1-\sqrt5 ¦ -2,1\pm\sqrt5
\{1\pm\sqrt{5},-2\} != 1\pm\sqrt5 ¦ -2
24;112 == 24, 112 ¦ 112,24
24;112 != 24 ¦ 112 ¦ 24,113
2 or -2 or \frac{1}{2} or -\frac{1}{2} == \pm2, \pm\frac12 ¦ 2,-2,1/2,-1/2
2 or -2 or \frac{1}{2} or -\frac{1}{2} != 2,-2 ¦ 2
$-1$,$2$,$-2$ == -1, 2, -2 ¦ -2,-1,2
$-1$,$2$,$-2$ != -1,2
108,135,189 == 108, 135, 189 ¦ 189, 135, 108
108,135,189 != 108, 135
5, 6 == 5或6 ¦ x_1=5，x_2=6 ¦ x=5或x=6
40,150 == 40,\ 150 ¦ 40,\, 150 ¦ 40, 150
|x|=5 != x=5 ¦ x=-5
x=4\text{ or }x=0 == x_1=0, x_2=4

# surds and pi
\arcsin\frac{1}{3} == \sin^{-1}\frac13 ¦ arcsin(1/3) ¦ \frac{\pi}{2}-\arccos\frac13
\arcsin\frac{1}{3} != \frac13 ¦ \arccos\frac13 ¦ \arcsin 3
\arctan(-1) == -\frac{\pi}{4} ¦ -\pi/4
\arctan(-1) != \frac{\pi}{4}
2^{100000} == 2^{100000}
2^{100000} != 2^{100000}+1 ¦ 2^{99999}
2\sqrt{2} == \sqrt{8} ¦ 2\sqrt2 ¦ 2√2 ¦ 2*sqrt(2) ¦ \frac{4}{\sqrt{2}} ¦ 2 \cdot \sqrt{2} ¦ 8^{1/2} ¦ 2^{3/2} ¦ √8
2\sqrt{2} == 2\sqrt{2} \text{ cm}
2\sqrt{2} != 2.83 ¦ 2.828427 ¦ \sqrt{7} ¦ 3\sqrt2 ¦ \sqrt{2} ¦ -2\sqrt2 ¦ 2.8284271247461903
\frac{\sqrt{3}}{3} == \frac{1}{\sqrt3} ¦ \sqrt{\frac13} ¦ 1/√3 ¦ sqrt(3)/3
\frac{\sqrt{3}}{3} != \sqrt3 ¦ 0.577
\frac{\pi}{12} == \pi/12 ¦ π/12 ¦ \frac{1}{12}\pi ¦ pi/12 ¦ \frac{2\pi}{24}
\frac{\pi}{12} != 0.2618 ¦ \frac{\pi}{6} ¦ 15
\sqrt[4]{\frac{64}{27}} == (64/27)^{1/4} ¦ \frac{2\sqrt{2}}{\sqrt[4]{27}}
\sqrt[4]{\frac{64}{27}} != 64/27
\pi - \arctan \frac{12}{5} == \pi-\arctan(12/5) ¦ \pi - \arctan(2.4)
\pi - \arctan \frac{12}{5} != \arctan \frac{12}{5}
\log_2 \frac{7}{\sqrt{3}} == \log_2 7 - \frac12\log_2 3 ¦ \frac{\ln 7 - \ln\sqrt3}{\ln 2}
\log_2 \frac{7}{\sqrt{3}} != 7 ¦ \log_2 7
\ln 2 == ln 2 ¦ ln2 ¦ \ln(2) ¦ \ln{2} ¦ \frac12\ln4 ¦ -\ln\frac12
\ln 2 != \ln 3 ¦ 2 ¦ 0.69
e^{-1} == \frac1e ¦ 1/e ¦ \frac{1}{\mathrm{e}} ¦ \exp(-1)
e^{-1} != e ¦ -e
\sqrt{1+\frac{\sqrt{6}}{3}} == \sqrt{\frac{3+\sqrt6}{3}}
\sqrt{1+\frac{\sqrt{6}}{3}} != \sqrt{1+\sqrt{6}}
\frac{100!}{2^{50}} == 100!/2^{50}
\frac{100!}{2^{50}} != 100!
10\sqrt{10} == 10^{1.5} ¦ 10^{3/2}
10\sqrt{10} != 31.62
\sqrt{3}\pi == \pi\sqrt3 ¦ \pi \sqrt{3}
\sqrt{3}\pi != \sqrt{3\pi}
-2 != 2
\frac12 == \sin 30^\circ ¦ \cos\frac{\pi}{3}
\frac12 != \sin 30 ¦ \cos 60
2 == \log 100 ¦ \lg 100 ¦ \log_2 4 ¦ \ln e^2
2 != \ln 100
-1 == e^{i\pi} ¦ i^2
-1 != i
\sqrt{2} == \sqrt{2} \approx 1.414 ¦ x=\sqrt{2}\approx 1.41 ¦ \frac{2}{\sqrt{2}} = \sqrt{2}
\sqrt{2} != \sqrt{2} \approx 1.5 ¦ \sqrt{2} = 1.414 ¦ 1.414
\frac{\sqrt3}{2^{2020}} == \sqrt3 \cdot 2^{-2020}
\frac{\sqrt3}{2^{2020}} != \frac{\sqrt2}{2^{2020}} ¦ \frac{\sqrt3}{2^{2019}} ¦ 0
e^{-2023} != e^{-2024} ¦ 0
10^{-80}\pi != 0 ¦ \pi
\sqrt2 != \sqrt2-2^{-2019}
2^{1000}\sqrt2 != 2^{1000}\sqrt2+1
-8 == (1+i\sqrt3)^3
2\sin\frac{\pi}{3} == 2 \operatorname{tg}\frac{\pi}{3} \cdot\frac12

# expressions
\frac{\pi}{3}+k\pi == \frac{\pi}{3}+k\pi, k\in \mathbb{Z}
\frac{\pi}{3}+k\pi == x=\frac{\pi}{3}+k\pi\ (k\in\mathbb{Z}) ¦ \frac{\pi}{3}+k\pi，k∈Z
\frac{\pi}{3}+k\pi != \frac{\pi}{3}+2k\pi, k\in \mathbb{Z}
x = 2k\pi, k\in\mathbb{Z} == 2k\pi (k \in Z) ¦ \{x \mid x=2k\pi, k \in \mathbb{Z}\} ¦ 2k\pi
x = 2k\pi, k\in\mathbb{Z} != 2k\pi, k \in \mathbb{N} ¦ k\pi, k\in\mathbb{Z} ¦ \{y \mid x=2k\pi, k \in \mathbb{Z}\}
x\ln x == x\ln(x) ¦ \ln(x)x
x\ln x != \ln x^2 ¦ x+\ln x
2\ln x == 2lnx ¦ \ln x^2
2\ln x != 2\ln y
n^{100} == n^{99}\cdot n ¦ (n^{50})^2
n^{100} != n^{101} ¦ n^{100}+1
x^2+3x+2 == (x+1)(x+2) ¦ x^2 + 3x + 2 ¦ 2+3x+x^2 ¦ x^{2}+3x+2 ¦ x\cdot x+3x+2 ¦ y=x^2+3x+2 ¦ f(x)=x^2+3x+2
x^2+3x+2 != x^2+3x+1 ¦ x^2+2x+2 ¦ y^2+3y+2 ¦ 6 ¦ x^2+3x+2.0000001 ¦ x^2-3x+2 ¦ x
2k == k+k ¦ 2 \cdot k ¦ k2
2k != 2n ¦ 2 ¦ k ¦ 2K ¦ 3k
\frac{n(n+1)}{2} == n(n+1)/2 ¦ \frac{1}{2}n(n+1) ¦ \frac{n^2+n}{2} ¦ \binom{n+1}{2} ¦ 0.5n^2+0.5n
\frac{n(n+1)}{2} != n(n-1)/2 ¦ n(n+1) ¦ \frac{m(m+1)}{2}
\binom{2n}{n} == \frac{(2n)!}{(n!)^2} ¦ \frac{(2n)!}{n!n!} ¦ C_{2n}^n ¦ \dbinom{2n}{n}
\binom{2n}{n} != \binom{2n}{n-1} ¦ \frac{(2n)!}{n!}
4 \cdot(-3)^{n-1} == -\frac43 (-3)^n ¦ 4(-3)^{n-1}
4 \cdot(-3)^{n-1} != 4 \cdot 3^{n-1} ¦ (-12)^{n-1}
\cot x == \frac{\cos x}{\sin x} ¦ \frac{1}{\tan x} ¦ \cot(x)
\cot x != \tan x ¦ \cot y
ab+ab^{2}+b == b(1+a+ab) ¦ ab^2+ab+b
ab+ab^{2}+b != ab+ab^2
\frac{v_{0}}{10} == v_0/10 ¦ 0.1v_0
\frac{v_{0}}{10} != v_1/10 ¦ v/10
\sin^2 x == 1-\cos^2 x ¦ (\sin x)^2 ¦ \sin^{2}x
\sin^2 x != \sin x^2 ¦ \sin 2x
\frac{\pi}{2} - 2\alpha == \pi/2-2α ¦ \frac{\pi-4\alpha}{2}
\frac{\pi}{2} - 2\alpha != \frac{\pi}{2} - 2\beta ¦ \frac{\pi}{2} - \alpha
a^{6} == a^6 ¦ (a^2)^3 ¦ a^{2\cdot3}
a^{6} != a^5 ¦ 6a
k\left(4 k^{2}+k-1\right) / 2 == \frac{k(4k^2+k-1)}{2}
k\left(4 k^{2}+k-1\right) / 2 != \frac{k(4k^2+k-1)}{4}
f(x)=\frac{1}{x} == f(x)=1/x ¦ \frac1x ¦ x^{-1} ¦ y=\frac{1}{x}
f(x)=\frac{1}{x} != f(x)=x ¦ x
x+1 == \frac{x^2-1}{x-1}
x+1 != x+1+10^{-9}
\frac{1}{3} == 0.\overline{3} ¦ 0.\dot{3}
\frac{3}{11} == 0.\overline{27}
\frac{3}{11} != 0.\overline{28} ¦ 0.27
-2 == \sqrt[3]{-8}
x \ne 1 == (-\infty,1)\cup(1,\infty)
x \ne 1 != (-\infty,1)
|x| == \sqrt{x^2}
|x| != x
\binom{n}{k} == \frac{n!}{k!(n-k)!} ¦ \binom{n}{n-k}
\binom{m}{d} != \binom{d}{m}
(-1)^n k != k ¦ (-1)^k k
(-2)^k != 2^k
|x| != x

# named values
6 == f(2)=6 ¦ P(X=1)=6 ¦ f^{-1}(2)=6 ¦ ∠A=6
6 == \therefore 6 ¦ ∴6
6 == \sin(a+b)=6 ¦ \frac{a}{b}=6
6 != x^2+x=6 ¦ f(2)=7 ¦ f(2)+1=6 ¦ x+y-1=6 ¦ P(X=6) ¦ \frac{x}{2}=6
\frac23 == BD:DC=2:3 ¦ \frac{BD}{DC}=\frac23
\frac23 != BD:DC=3:2
x=5 == 5 ¦ 5=x ¦ x = 5. ¦ x = \boxed{5} ¦ $x=5$
x=5 != x=5, 5 ¦ y=5 ¦ x=6 ¦ 6 ¦ x ¦ x=x
5 == x=5 ¦ n = 5 ¦ AB = 5 ¦ k=5 ¦ \angle A = 5 ¦ Area = 5 ¦ S=2+3=5
5 != 5=6 ¦ x=5=6 ¦ x+1=5+1 ¦ x-5=0 ¦ x=6
M=2^{N-2}+1 == 2^{N-2}+1 ¦ M = 1+2^{N-2}
M=2^{N-2}+1 != 2^{N-1}+1
C(h)=4h+4 == 4h+4 ¦ C(h)=4(h+1) ¦ C=4h+4
C(h)=4h+4 != 4h
x+1 == f^{-1}(x)=x+1 ¦ \frac{dy}{dx}=x+1
x+1 != x-1
f(x)=x+1 == y=x+1 ¦ f=x+1
f(x)=x+1 != g(x)=x+1 ¦ f(z)=x+1
2:3 == a:b=2:3
V_1:V_2=11:21 == 11:21
\frac{AB}{CD}=2 == 2
\sin 2\alpha=\frac{24}{25} == \frac{24}{25}
(r,\theta)=(2,\pi) == (2,\pi)

# tuples
\{(1,2)\} == (1,2)
\{(1,2)\} != (2,1) ¦ \{1,2\} ¦ \{(1,2),(2,1)\}
(2,-3) == P=(2,-3)
(2,-3) != P(-3,2) ¦ 2(2,-3)
P(2,-3) != Q(2,-3) ¦ P[2,-3]
(1,2) == (1, 2) ¦ \left(1,2\right) ¦ (1.0, \frac{4}{2}) ¦ \langle 1,2\rangle ¦ x=1, y=2
(1,2) != (2,1) ¦ [1,2] ¦ [1,2) ¦ \{1,2\} ¦ 1 ¦ (1,2,3) ¦ (1,3) ¦ 12
(-\frac{1}{2}, \frac{7}{2}) == (-0.5,3.5) ¦ (-1/2, 7/2)
(-\frac{1}{2}, \frac{7}{2}) != (1/2,7/2)
$(1,1), (3,2)$ == (3,2),(1,1) ¦ (1,1) and (3,2) ¦ \{(1,1),(3,2)\}
$(1,1), (3,2)$ != (1,1) ¦ (1,1),(2,3) ¦ 1,1,3,2
(2,251,252) == (2, 251, 252)
(2,251,252) != (2,252,251) ¦ 2251252
(45^{\circ}, 60^{\circ}) == (45,60) ¦ (45°,60°)
(45^{\circ}, 60^{\circ}) != (60,45)
\left( 3, \frac{\pi}{2} \right) == (3,\pi/2)
\left( 3, \frac{\pi}{2} \right) != (3,\pi)
(1,2) == (x,y)=(1,2) ¦ y=2, x=1
(1,2) != y=1, x=2
(1,2) != (x,y)=(2,1)
(1.41,2.24) == (\sqrt{2},\sqrt{5})
(1.41,2.24) != (\sqrt{5},\sqrt{2}) ¦ (1.4,2.2)
(\pm1,2) == (1,2),(-1,2)
(\pm1,2) != (1,2) ¦ (1,2),(1,-2)

# intervals
1<x<3 == (1,3) ¦ 1 < x < 3
1<x<3 != 1,3 ¦ 1 and 3 ¦ [1,3]
(-oo, 3) == x<3 ¦ (-\infty, 3) ¦ \left\{\left. x \right| x<3\right\} ¦ \{z \mid z<3\}
(-oo, 3) != (-oo, 3] ¦ (oo, 3)
(0,3] == \{x \in \mathbb{R} \mid 0<x\le 3\}
(0,3] != (0,2]\cup(2,3) ¦ (0,1)\cup(1,3]
(3,\infty) == x>3 ¦ 3<x ¦ (3, +\infty) ¦ x \in (3,\infty) ¦ \{x \mid x>3\} ¦ \{x|x>3\} ¦ \{x: x>3\} ¦ (3,∞)
(3,\infty) == \left(3,\infty\right) ¦ x\in\left(3,+\infty\right)
(3,\infty) != x<3 ¦ x\ge3 ¦ [3,\infty) ¦ 3 ¦ (-\infty,3) ¦ (2,\infty) ¦ (3,4) ¦ x \neq 3
(-\infty, 2) \cup (3, \infty) == (-\infty,2) U (3,\infty) ¦ (3,\infty)\cup(-\infty,2) ¦ x<2 \text{ or } x>3 ¦ (-∞,2)∪(3,∞)
(-\infty, 2) \cup (3, \infty) == x<2, x>3
(-\infty, 2) \cup (3, \infty) != (-\infty,2) ¦ (-\infty,2]\cup(3,\infty) ¦ (2,3)
[-1,-\frac{1}{2}] == [-1,-0.5] ¦ -1\le x\le -\frac12
[-1,-\frac{1}{2}] != (-1,-0.5) ¦ [-1,0.5]
x \in [-2,7] == [-2,7] ¦ -2\le x\le7 ¦ -2 \leq x \leq 7 ¦ \{x|-2\leqslant x\leqslant 7\}
x \in [-2,7] != (-2,7) ¦ [-2,7)
(-\infty, 0) \cup\{1\}. == \{1\}\cup(-\infty,0)
(-\infty, 0) \cup\{1\}. != (-\infty,0) ¦ 1
(-\infty, 0)\cup(0,1)\cup(1,+\infty) == (-\infty,0)\cup(0,1)\cup(1,\infty)
(-\infty, 0)\cup(0,1)\cup(1,+\infty) != \mathbb{R} ¦ (-\infty,\infty)
\{x|-2\leq x < 1\} == [-2,1) ¦ -2\le x<1 ¦ x\in[-2,1)
\{x|-2\leq x < 1\} != (-2,1] ¦ [-2,1]
1/3<x<7 == (\frac13,7) ¦ \frac{1}{3}<x<7 ¦ 7>x>1/3
1/3<x<7 != (1/3,8)
k \geqslant 2 == k\ge2 ¦ k>=2 ¦ [2,\infty) ¦ k\geq 2
k \geqslant 2 != k>2 ¦ n \ge 2
\mathbb{R} == (-\infty,\infty) ¦ \mathbb R ¦ all real numbers
\mathbb{R} != (0,\infty)
[0,1)\cup(1,2] == 0\le x<1 \text{ or } 1<x\le 2
[0,1)\cup(1,2] != [0,2]
(1,3) == 1<x<3
(1,3) != x>1 ¦ x<3
[a,\infty) == x\ge a
(a,b] == a<x\le b
(a,b] != a<x<b ¦ b<x\le a
(0,1)\cup(1,\infty) == (0,1) or (1,\infty)
x=1 \text{ or } x>3 == \{1\}\cup(3,\infty)

# equations
y=\pm\frac{3}{4}x == 3x\pm4y=0 ¦ 3x+4y=0, 3x-4y=0
y=\pm\frac{3}{4}x != 4x\pm3y=0 ¦ 3x+4y=0
x+y=5 == y=5-x
x+y=5 != 5
x^2+y^2=5 == y^2=5-x^2
x^2+y^2=5 != 5 ¦ x^2=5 ¦ x^2+y^2=4
y=3-2x == 2x+y=3 ¦ y = -2x+3 ¦ 2x+y-3=0 ¦ 4x+2y=6 ¦ 3-2x ¦ 3-2x=y ¦ 2x + y = 3.
y=3-2x != y=3+2x ¦ 2x+y=4 ¦ y=3-2z ¦ 0=0 ¦ x=x ¦ y=y ¦ 3
\frac{x^{2}}{4}+\frac{y^{2}}{3}=1 == 3x^2+4y^2=12 ¦ \frac{y^2}{3}+\frac{x^2}{4}=1 ¦ x^2/4+y^2/3=1
\frac{x^{2}}{4}+\frac{y^{2}}{3}=1 != \frac{x^{2}}{3}+\frac{y^{2}}{4}=1 ¦ 1 ¦ 3x^2+4y^2=1
y=\pm\sqrt{3}x == y=\sqrt3x, y=-\sqrt3x ¦ y = \pm \sqrt{3} x
y=\pm\sqrt{3}x != y=\sqrt3 x
5x - 7y + 11z + 4 = 0 == -5x+7y-11z-4=0 ¦ 5x-7y+11z=-4
5x - 7y + 11z + 4 = 0 != 5x-7y+11z-4=0
200(1+x)^2=401 == 200(x+1)^{2}=401 ¦ 401=200(1+x)^2
200(1+x)^2=401 != 200(1+x)=401
b > a > c == c<a<b ¦ b>a>c
b > a > c != a>b>c ¦ c>a>b
x+2y>3 != x+2y<3 ¦ x+2y\ge3
y=|x| != y=x
|x|+|y|=1 != x+y=1
y=x^2, x>0 == y=x^2 (x>0)
y=x^2, x>0 != y=x^2 (x<0)
k\pi, k\in\mathbb{Z} == k\pi（k∈Z） ¦ k\pi, k\in\mathbf{Z} ¦ k\pi, \text{ where } k\in\mathrm{Z}

# units
60 == 60 \frac{\text{km}}{\text{h}} ¦ 60 \frac{\mathrm{m}}{\mathrm{s}^2}
60 != 61 \frac{\text{km}}{\text{h}}
5\text{ cm}^2 == 5 sq cm ¦ 5 square centimeters
5\text{ cm}^2 != 5平方米 ¦ 5立方厘米
2.5 \text{ N} \cdot \text{m} == 2.5
2.5 \text{ N} \cdot \text{m} != 2.6
15\mbox{ cm}^2 == 15 ¦ 15 cm^2 ¦ 15\text{ cm}^2 ¦ 15\,\text{cm}^{2} ¦ 15cm²
15\mbox{ cm}^2 != 16 ¦ 15 cm^3 ¦ 16 cm^2
5 cm == 5 ¦ 5\text{ cm} ¦ 5cm ¦ 5\,\mathrm{cm} ¦ 5 centimeters
5 cm != 5 m ¦ 6 cm ¦ 5 km
5 == 5 cm ¦ 5 apples ¦ 5个 ¦ 5\text{ m/s}^2 ¦ 5 dollars ¦ \$5 ¦ $5$ dollars ¦ 5\% ¦ 5 hours ¦ 5米 ¦ 5 元 ¦ 5人 ¦ 5 m
5 == 5 m/s^2 ¦ 5 \, \text{m/s} ¦ 5\text{ square units} ¦ 5 miles per hour
5 != 5kkkkkkkkkkkkkkkkkkkkkkkkkkkk ¦ k \in Z = 5
5 != 5 negative ¦ 5 tens ¦ 5百 ¦ 5左右 ¦ 5多 ¦ 5折 ¦ 5\text{ is incorrect} ¦ 5 factorial
500 == 5百 ¦ 5 hundred
5 != 5 million ¦ 5 or so ¦ 5万 ¦ 5 more than that ¦ 5m ¦ 5 plus
70^\circ == 70 ¦ 70° ¦ 70 degrees ¦ 70^{\circ} ¦ 70\text{ degrees} ¦ 70度 ¦ 70 ^\circ ¦ 70\degree
70^\circ != 71 ¦ 7^\circ ¦ 70^0
\$36 == 36 ¦ $36 ¦ 36 dollars ¦ \$36.00 ¦ 36\text{ dollars}
\$36 != 37 ¦ 3.6
\$32,\!348 == 32348 ¦ $32,348
\$32,\!348 != 32349
5.4 \text{ cents} == 5.4 ¦ 5.4 cents
5.4 \text{ cents} != 5.5
36\sqrt{7}cm^{3} == 36\sqrt7 ¦ 36\sqrt{7}\text{ cm}^3
36\sqrt{7}cm^{3} != 36\sqrt{5}
576\pi\;m^{2} == 576\pi ¦ 576\pi \text{ m}^2
576\pi\;m^{2} != 576
145 == 145 degrees
27 == 27 \mathrm{~cm} ¦ 27\text{ years old} ¦ 27th ¦ \$27 ¦ 27 m/s
27 != 27^{th}+1
\frac{\pi}{6} == 30^\circ
\frac{\pi}{6} != 30
20^\circ C == 20 ¦ 20°C ¦ 20^{\circ}\text{C}
20^\circ C != 21
1.5 \text{ kg m/s} == 1.5 kg·m/s
8.314 \frac{\text{J}}{\text{mol}\cdot\text{K}} == 8.314
100^{\circ}C == 100 degrees Celsius
10\text{ kWh} == 10 kWh
10 \text{ cm} != 10 cm or 10 m ¦ 10\%
90^\circ != 90 radians
\$5.4 == 5.4 ¦ 5.4 dollars
\$5.4 != 5.4 cents ¦ €5.4 ¦ 540
£5 == 5 pounds ¦ \pounds 5 ¦ 5
£5 != 5 euros ¦ 5 yen
5 != 5 cm or 5 m

# percent
p\% == p\%
p\% != q\%
50\% == 50% ¦ 50 ¦ 0.5 ¦ 1/2 ¦ 50 percent
50\% != 5 ¦ 0.05 ¦ 500 ¦ 5%
17.5% == 17.5 ¦ 0.175 ¦ 17.5\%
17.5% != 1.75 ¦ 17 ¦ 18%
50 == 50% ¦ 50\%
50 != 0.5 ¦ 5000
0.5 == 50% ¦ 1/2
0.5 != 50 ¦ 0.5% ¦ 5
\frac13 == 33\frac{1}{3}\%
\frac13 != 33\%
5\% != 5 or 500\%
-50\% == -50 ¦ -0.5 ¦ -50% ¦ -\frac12
-50\% != 50 ¦ 0.5 ¦ -5 ¦ 50% ¦ -5000
-50 == -50% ¦ -50\%
-50 != -0.5 ¦ 50% ¦ -5000
-0.5 == -50%
-0.5 != -50 ¦ -0.5% ¦ 50%
2 == 2\%
1 != 1\%
-1 != -1\%
-5\%, 5\% == -5, 5

# matrices
a_n=\begin{cases}1,&n=1\\2n,&n\ge2\end{cases} == a_n=\begin{cases}1,n=1\\2n,n\geq 2\end{cases}
a_n=\begin{cases}1,&n=1\\2n,&n\ge2\end{cases} == \begin{cases}1&\text{if } n=1\\2n&\text{if }n\geq 2\end{cases}
a_n=\begin{cases}1,&n=1\\2n,&n\ge2\end{cases} != \begin{cases}1,n=2\\2n,n\geq 2\end{cases}
x=1,y=2 == \left\{\begin{matrix}x=1\\y=2\end{matrix}\right.
x=1,y=2 == \left\{\begin{array}{l}x=1,\\y=2\end{array}\right.
x=1,y=2 == 1,2 ¦ (1,2)
x=1,y=2 != 2,1 ¦ (2,1) ¦ x=2,y=1 ¦ y=1,x=2
1,2 == y=2,x=1 ¦ x_2=1,x_1=2
1,2 != x=2,y=1 ¦ \alpha=2,\beta=1
x=1,y=2 == y=2,x=1
x=1,y=2 != \left\{\begin{array}{l}x=1,\\y=3\end{array}\right.
(1,2) == \begin{pmatrix}1\\2\end{pmatrix}
(1,2) != \begin{pmatrix}2&1\end{pmatrix}
x=1,y=2 == \begin{cases}x=1\\y=2\end{cases}
x=1,y=2 != \begin{cases}x=2\\y=1\end{cases}
\begin{cases}x & x>0\\-x & x\le 0\end{cases} == \begin{cases}-x & x\le 0\\x & x>0\end{cases}
\begin{cases}x & x>0\\-x & x\le 0\end{cases} != \begin{cases}x & x<0\\-x & x\ge 0\end{cases}
\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix} == \begin{bmatrix}-1&0\\0&-1\end{bmatrix}
\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix} == \left(\begin{array}{cc}-1&0\\0&-1\end{array}\right)
\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix} == \begin{pmatrix}-1&0\\0&-1\\\end{pmatrix} ¦ [[-1,0],[0,-1]]
\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix} != \begin{pmatrix}1&0\\0&-1\end{pmatrix}
\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix} != \begin{pmatrix}-1\\0\\0\\-1\end{pmatrix} ¦ -1
\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix} == \begin{pmatrix}-\frac13\\\frac23\\\frac53\end{pmatrix}
\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix} == (-\frac13,\frac23,\frac53)
\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix} != \begin{pmatrix} -1/3 & 2/3 & 5/3 \end{pmatrix}
\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix} != \begin{pmatrix}2/3\\-1/3\\5/3\end{pmatrix}

# complex
2i == \sqrt{-4} ¦ 2\sqrt{-1}
2i != -2i ¦ 2 ¦ \sqrt{4}
1+2i == i(2-i) ¦ 2i+1 ¦ 1+2\mathrm{i} ¦ 1 + 2i
1+2i != 1-2i ¦ 2+i ¦ 3 ¦ 1+2k
-i == \frac{1}{i} ¦ i^3 ¦ -\mathrm{i}
-i != i ¦ -1
7-\sqrt{5 \mathrm{i}} == 7-\sqrt{5i}
7-\sqrt{5 \mathrm{i}} != 7-\sqrt{5}i

# scientific
3e8 == 3\times 10^8 ¦ 300000000 ¦ 3\cdot10^{8} ¦ 3×10^8 ¦ 3*10^8 ¦ 3E8 ¦ 3 · 10⁸ ¦ 3.0\times10^8
3e8 != 3e9 ¦ 3 ¦ 38 ¦ 3.1e8
1.6\times 10^{-19} == 1.6e-19 ¦ 1.602\times10^{-19} ¦ 1.6 \times 10^{-19} \text{ C}
1.6\times 10^{-19} != 0 ¦ 0.0 ¦ 1.6e-18 ¦ 1.7e-19 ¦ 2e-19 ¦ 1.6 ¦ 16
6.02e23 == 6.022 \times 10^{23}
6.02e23 != 6.03e23 ¦ 6e23

# bases
101 != 101_2 ¦ 5
25 != 25_8

# ratios and times
1:2:3 != 1:2:4 ¦ 1:2 ¦ 1/2
1:2 == 2:4 ¦ 1/2 ¦ 0.5 ¦ 1 : 2 ¦ 1\colon 2
1:2 != 2:1 ¦ 1:3 ¦ 12 ¦ 1,2
3:30 p.m. == 3:30 pm ¦ 3:30 ¦ 3:30 PM ¦ 3:30\text{ p.m.}
3:30 p.m. != 3:30 am ¦ 3:31 pm ¦ 3.5
5am == 5 am ¦ 5 a.m.
5am != 5 pm ¦ 6am
1:2 != 0:0
1:2:3 != 0:0:0
3:00 != 5:00 ¦ 0:00

# sets
\{1,3,5\} == \{5,3,1\} ¦ 1,3,5 ¦ {1,3,5} ¦ \left\{1,3,5\right\}
\{1,3,5\} != \{1,3\} ¦ 135 ¦ [1,5]
\{-2\} == -2
\{-2\} != 2 ¦ \{-2,2\}
\emptyset == ∅ ¦ \varnothing ¦ \{\} ¦ no solution
\emptyset != 0 ¦ \{0\}
\{x|x=3k,k\in \mathbb{Z}\} == \{x \mid x=3k, k \in \mathbb{Z}\}
\{x|x=3k,k\in \mathbb{Z}\} != \{x|x=2k,k\in \mathbb{Z}\}
\{1,2,3,4\} == \{1,3\}\cup\{2,4\}
\{1,2,3,4\} != \{1,3\}

# text
\text{east} == east ¦ East ¦ \text{East} ¦ EAST ¦ the east
\text{east} != west ¦ not east ¦ seat ¦ east or west ¦ northeast
\text{Evelyn} == Evelyn ¦ \mathrm{Evelyn} ¦ evelyn
\text{Evelyn} != Navin
Purple == purple ¦ \text{purple}
Purple != red
\text{ellipse} == ellipse ¦ an ellipse ¦ Ellipse.
\text{ellipse} != circle
\text{a necessary but not a sufficient condition} == necessary but not sufficient condition
\text{a necessary but not a sufficient condition} != a sufficient but not a necessary condition
Yes == yes ¦ \text{Yes} ¦ YES
Yes != no
\infty == +\infty ¦ ∞ ¦ infinity
\infty != -\infty ¦ 1
Tuesday == \text{Tuesday}
Tuesday != Monday
Quadrant I == quadrant I
Quadrant I != Quadrant II
平行 == \text{平行}
平行 != 不平行 ¦ 垂直
Odd == odd
Odd != even
I,II,III == I, II, III ¦ III, II, I
I,II,III != I, II ¦ I, II, IV
I,II,III == I, II, and III

# counted things and hedges
5 != 5 sixteenths ¦ 5 twentieths ¦ 5 per mille ¦ 5 onwards ¦ 5 fewer ¦ 5 upwards ¦ 5 ninetieths ¦ 5 squared ¦ 5 halves
10 == 10 sec ¦ 10 secs ¦ 10 ft/sec ¦ 10 feet per second ¦ 10\text{ sec}
10 sec == 10 ¦ 10 s ¦ 10 seconds
10 sec != 10 min ¦ 11 sec
28\% == 28 pct ¦ 28 percent ¦ 28\\%
\$5 == \\$5 ¦ 5
63^\circ 45' == 63.75^\circ ¦ 63°45′ ¦ 63^{\circ}45^{\prime}
63^\circ 45' != 63^\circ ¦ 63.45
Team A == \text{Team A} ¦ team A ¦ the Team A
Team A != Team ¦ Team B
E == E - polygenic risk ¦ E项 ¦ (E) polygenic risk
B == B项 ¦ 选项B
B != C项 ¦ AB项

# functions and factorials
\frac{e-e^{-1}}{2} == \sinh 1
\tanh x == \frac{\sinh x}{\cosh x}
\frac{\pi}{4} == \operatorname{arccot} 1
\frac{\pi}{3} == \operatorname{arcsec} 2
\sinh x != \sin x ¦ \cosh x
5!! == 15
5!! != (5!)! ¦ 120
2023 == 2023!/2022! ¦ \frac{2023!}{2022!}
2047276 == C(2024, 2) ¦ \binom{2024}{2}
2047276 != C(2024, 3)
2x == f^{\prime}(x) = f'(x) = 2x ¦ y^{\prime}=2x
|x| != x ¦ -x
x != \sqrt{x^2} ¦ |x|

# long decimals
\frac{1}{12} == 0.0833333333333333
\frac{1}{12} != 0.0833333333333334 ¦ 0.08333333 ¦ 0.0833
\pi == 3.14159265358979
\pi != 3.14159

# points at which letters are small, large or negative
n(n-1) != |n(n-1)|
6r^2-4r-24 != |6r^2-4r-24|
(a+5)(b+2) != |(a+5)(b+2)|
\sqrt{x} != \sqrt{|x|}
\ln x != \ln|x|
1 == \sin^2x+\cos^2x ¦ \cosh^2 x-\sinh^2 x

# floors
3 == \lfloor 3.7 \rfloor ¦ \lceil 2.2 \rceil ¦ \lfloor\sqrt{10}\rfloor ¦ \lfloor\sqrt{9}\rfloor ¦ \lceil\sqrt9\rceil
3 != \lfloor 2.7 \rfloor ¦ \lceil 3.2 \rceil
\lfloor n/2\rfloor == \lfloor \frac{n}{2} \rfloor ¦ \left\lfloor 0.5n\right\rfloor
\lfloor n/2\rfloor != \lceil n/2\rceil ¦ n/2 ¦ \lfloor n/3\rfloor

# inequalities
(1,3) == x>1, x<3 ¦ x<3, x>1 ¦ x>1 and x<3 ¦ x < 3 \text{ and } x > 1 ¦ x>1 \land x<3
(1,3) != x>3, x<1 ¦ x<1, x>3 ¦ x>1 or x<3 ¦ x>1 and x<4 ¦ x>1 and y<3
(-1,1) == |x|<1 ¦ \left|x\right|<1
(-1,1) != |x|>1 ¦ |x|\le 1
[-2,2] == |x|\le 2
(-\infty,-1)\cup(1,\infty) == |x|>1
x>3 == 2x>6 ¦ x-3>0 ¦ -x<-3
x>3 != -2x>6 ¦ 2x>5 ¦ 2x\ge6
2x+3y>6 == 4x+6y>12 ¦ 6<2x+3y ¦ y>\frac{6-2x}{3}
2x+3y>6 != 2x+3y<6 ¦ 2x+3y\ge6
x\ne1 == \mathbb{R}\setminus\{1\} ¦ \{x \mid x\ne1\} ¦ (-\infty,1)\cup(1,\infty)
x\ne1 != 1 ¦ x=1 ¦ \mathbb{R}\setminus\{2\}

# names, ratios, residues and digits
(2,-3) == P(2,-3) ¦ P=(2,-3)
\overline{AB} == AB
\overline{AB} != BA+1 ¦ \overline{AC}
2\vec{a}+\vec{b} == \overrightarrow{b}+2\overrightarrow{a}
2\vec{a}+\vec{b} != 2a+b ¦ \vec{a}+2\vec{b}
1:2:3 == 2:4:6
1:2:3 != 3:2:1 ¦ 2:4:7 ¦ 1:2
101_3 == 101 ¦ 101_{3} ¦ (101)_3
101_3 != 101_2 ¦ 102_3
101 != 101_3
4 == 4 \pmod 7 ¦ 4 (mod 7)
5 != 5 \pmod 3 ¦ 5..
5am == 5 am
5am != 5 ¦ 5pm
(2,2) == x=y=2
6 == a+b=6
6 != a+b+1=6 ¦ a-b=c
a+b=6 != 6
3/4 == 3/4 or 0.75
3/4 != 3/4 or 0.7 ¦ 3/4, 0.75
\frac16 == 0.1\overline{6}
\frac43 == \frac43\%
10\text{ N m} == 10\text{ m N}
(1,2) == \begin{aligned}x&=1\\y&=2\end{aligned}
28\% == 28 per cent ¦ 28 pct
5 == 5 radians ¦ 5 rad
5\text{ rad} == 5 rad ¦ 5 radians ¦ 5
(x,y)=(1,2) == 1,2 ¦ x=1,y=2
D == 答案D ¦ D项 ¦ D - mitochondria
"""


# Golds that are compared as text, or that carry a label, so that the properties below do not hold for them.
TEXT_TABLE = r"""# signs of logic and sets
A ∩ B == A \cap B
A ∩ B != A ∪ B
p ∧ q == p \wedge q
p ∧ q != p ∨ q ¦ p
x ∉ A == x \notin A
A ⊆ B != B ⊆ A

# labels in golds
Solution is: k=4. == 4 ¦ k=4
x+c, \text{ for any } c \in \mathbb{R} == x+c
x+c == x+c, for any c ∈ ℝ ¦ x+c, c \in \mathbb{R}
-\frac13 == -1./3
"""


def table(text=TABLE):
    kind = ""
    for line in text.strip().splitlines():
        kind = line[2:] if line.startswith("# ") else kind
        found = re.match(r"(.+?) (==|!=) (.*)", line)
        if found and not line.startswith("# "):
            yield from ((kind, found[1], answer, found[2] == "==") for answer in found[3].split(" ¦ "))


CASES = list(table())
GOLDS = list(dict.fromkeys(gold for _, gold, _, _ in CASES))


@pytest.mark.parametrize("kind", dict.fromkeys(kind for kind, *_ in CASES))
def test_pairs(kind):
    wrong = [(g, a, want) for k, g, a, want in CASES if k == kind and is_equiv(a, g) is not want]
    assert wrong == []


def test_pairs_compared_as_text():
    assert [(gold, answer) for _, gold, answer, want in table(TEXT_TABLE) if is_equiv(answer, gold) is not want] == []


def test_answers_count_the_same_in_a_box_and_after_a_closing_phrase():
    for _, gold, answer, want in CASES:
        assert verify(rf"Hence \boxed{{{answer}}}.", gold) is want or answer.count("{") != answer.count("}"), (
            gold,
            answer,
        )
    assert verify("The answer is $\\frac12$.", "0.5") and verify("#### 1,234", "1234") and verify("答案是 B。", "B")


# Extraction: (response, answer).
EXTRACTED = [
    ("The answer comes out to be 42.", "42"),
    ("The answers are 1 and 2.", "1 and 2"),
    ("The answer is that there are 42 ways.", "42 ways"),
    ("**Final Answer:** The value of $x$ is $42$.", "$42$"),
    ("Answer: The smallest such integer is 42.", "42"),
    ("Answer: She has 42 apples left.", "42 apples left"),
    ("Answer: It is 42.", "42"),
    ("Answer: not five: 5", None),
    ("The answer is 42 :)", "42"),
    ("The answer is 42 [see above].", "42"),
    ("The answer is 42 ∎", "42"),
    ("**Answer:** 42\n\n**Explanation:** The answer is reached by adding 40 and 2.", "42"),
    ("Answer: B\n\n(A) is wrong because the answer is too small.", "B"),
    ("<final_answer>9</final_answer>", "9"),
    ("Final Answer → 9", "9"),
    ("Answer => 9", "9"),
    ("Option B is correct.", "B"),
    ("答案应当是9。", "9"),
    ("最后答案是9。", "9"),
    ("答案：42。以上答案是经过验证的。", "42"),
    (r"\boxed{4}, then \boxed{5}.", "5"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\fbox{5}", "5"),
    (r"$\boxed 5$", "5"),
    (r"\boxed  {5}", "5"),
    (r"\boxed{\boxed{5}}", r"\boxed{5}"),
    (r"$\boxed{5}x^2$", "5x^2"),
    (r"$\boxed{5}x$", "5x"),
    (r"\boxed{12}\text{ cm}", "12"),
    (r"\boxed{5} and the rest \boxed{6", "5"),
    (r"\boxed{6", None),
    (r"\boxed{5}, or \boxed{}", None),
    (r"\boxed{ }", None),
    (r"$\boxed{1}$, $\boxed{2}$", "1, 2"),
    (r"\boxed{A} and \boxed{C}", "A, C"),
    (r"$x=\boxed{1}$, $y=\boxed{2}$", "1, 2"),
    (r"\boxed{17} or \boxed{18}", "17, 18"),
    (r"\boxed{5}, \boxed{5}", "5"),
    (r"\boxed{5}. So \boxed{6}", "6"),
    ("\\boxed{5}\n\\boxed{6}", "6"),
    (r"\boxed{3}, since \boxed{4} is not", "4"),
    (r"<think>\boxed{4}</think>\boxed{5}", "5"),
    (r"<think>\boxed{4}</think>", None),
    (r"<think>\boxed{4}", None),
    (r"\boxed{4}</think>\boxed{5}", "5"),
    (r"\boxed{4}</think> so", None),
    (r"\boxed{5}<think>\boxed{6}</think>", "5"),
    ("The answer is 5.", "5"),
    ("The answer is 3.14.", "3.14"),
    (r"The final answer is $\frac{1}{2}$.", r"$\frac{1}{2}$"),
    ("the answer is: 5", "5"),
    ("so the answer is 5 because 5 is prime", "5"),
    ("The correct answer is (C).", "(C)"),
    ("The answer is A. 5 apples", "A"),
    ("答案是5。", "5"),
    ("答案为：5", "5"),
    ("故选：C", "C"),
    ("#### 42", "42"),
    ("Answer: B", "B"),
    ("**Final Answer**: 5", "5"),
    ("The final answer is $5$. I hope it is correct.", "$5$"),
    ("**Final Answer**\n\n5", "5"),
    ("## Final Answer\n\n$$5$$", "5"),
    ("The correct option is (B).", "(B)"),
    ("【答案】B", "B"),
    ("因此选择B。", "B"),
    ("所以答案选 B", "B"),
    ("答：5", "5"),
    ("解答：5", None),
    ("The answer to this problem is 5.", "5"),
    ("The answer is 5 (five).", "5"),
    ("The answer is 5 (or 6).", "5 (or 6)"),
    ("The answer is C, not D.", "C"),
    ("Answer: A. 3 B. 4", "A. 3 B. 4"),
    ("The answer is approximately 5.", "5"),
    ("The answer is 5<|im_end|>", "5"),
    ("The answer is 5</s>", "5"),
    ("<think>6</think><answer>5</answer>", "5"),
    ("本题选D", "D"),
    ("我不选D", None),
    ("[答案]D", "D"),
    ("正确选项为：D", "D"),
    ("I choose D.", "D"),
    ("The correct option: (D)", "(D)"),
    ("The answer must be 5.", "5"),
    ("answer = 5", "5"),
    ("The answer is, therefore, 5.", "5"),
    ('The answer is "5".', "5"),
    ("<answer>The answer is $5$ </answer>", "$5$"),
    (r"\\boxed{3}", "3"),
    ("\\[\n\\boxed{1}\n\\]\nor\n\\[\n\\boxed{2}\n\\]", "1, 2"),
    (r"\[ \boxed{1} \quad \text{and} \quad \boxed{2} \]", "1, 2"),
    ("(a) $\\boxed{3}$\n\n(b) $\\boxed{5}$", "3, 5"),
    (r"Part 1: \boxed{1}; Part 2: \boxed{2}", "1, 2"),
    ("5 + 7 = 12", None),
    ("", None),
]


@pytest.mark.parametrize("response, answer", EXTRACTED)
def test_extraction(response, answer):
    assert extract_answer(response) == answer


def test_a_bare_last_number_counts_only_on_request():
    for response, answer in (("so 5 and 7", "7"), ("it is 1,234.", "1,234"), ("x = 3/4.", "3/4"), ("nothing", None)):
        assert extract_answer(response) is None
        assert extract_answer(response, last_number=True) == answer
    assert verify("so 7", "7", last_number=True) and not verify("so 7", "7")
    assert extract_answer(r"\boxed{5} of 7", last_number=True) == "5"


def test_hacks_are_not_rewarded():
    gold = "17"
    for response in (
        r"<think>\boxed{17}</think> I do not know", r"\boxed{17} \boxed{18}", r"\boxed{17} or \boxed{18}",
        r"\boxed{17}. No: \boxed{18}", r"\boxed{16, 17, 18}", r"\boxed{17 \text{ or } 18}", r"\boxed{[0, 100]}",
        r"\boxed{x}", r"\boxed{\text{the answer}}", r"\boxed{}", r"\boxed{17", "17", "17 17 17", r"\boxed{5=17}",
        r"\boxed{\{15,16,17\}}", r"\boxed{\text{not } 17}", r"\boxed{17?}", r"\boxed{16 < x < 18}", r"\boxed{17 \pm 1}",
        "The answer is one of 15, 16, 17", r"\boxed{17}\n\boxed{18}", r"\boxed{\text{See above: } 17, 18}",
    ):  # fmt: skip
        assert not verify(response, gold), response


# What stands around an answer: (gold, responses that give it, responses that do not).
GIVEN = [
    ("42", """The answer is 42. I am confident this answer is correct. ¦ <answer>42</answer> This answer is final. ¦
        The answer is 42! ¦ The answer is 42? ¦ The answer is 42: ¦ 答案是42！ ¦ The answer is 42 🎉 ¦
        The answer is 42, and we are done. ¦ The answer is 42, where n = 3. ¦ The answer is 42, as claimed. ¦
        The answer is 42 — done ¦ Answer: The value of n is 42. ¦ **Final Answer:** The total is **42**. ¦
        Final Answer: The largest n is 42. I hope it is correct. ¦ The answer is exactly 42. ¦ Answer \\[ 42 \\] ¦
        Answer $42$ ¦ <ANSWER>42</ANSWER> ¦ 答案应为42。 ¦ 答案就是42 ¦ 答案应是42。 ¦ 答案是42。经检验，这个答案是正确的。 ¦
        \\boxed{41} Wait. Final answer: 42 ¦ \\boxed{42}. The answer is 41 plus one. ¦
        \\boxed{42} (put in \\boxed as required) ¦ The answer is \\boxed{42}. I have put it in \\boxed{}. ¦
        <thinking>\\boxed{41}</thinking> \\boxed{42} ¦ <reasoning>The answer is 41</reasoning> The answer is 42""",
     """-\\boxed{42} ¦ $\\boxed{42}\\pi$ ¦ $\\boxed{42}^2$ ¦ The answer is 42 or 43. ¦ \\boxed{42} Final answer: 41 ¦
        The answer is 42. Wait, the answer is 41. ¦ <thinking>\\boxed{42}</thinking> ¦ The answer is not 42. ¦
        The answer is 42 million ¦ The answer is at least 42"""),
    ("B", """Answer: B ¦ Answer: B. Explanation: the correct answer is the one that fits. ¦ The answer is **B**""",
     "The answer is not B ¦ Answer: A. B is wrong"),
    ("460", "$$ \\text{ANSWER: } \\$460 $$", "$$ \\text{ANSWER: } \\$461 $$"),
]  # fmt: skip


@pytest.mark.parametrize("gold, right, wrong", GIVEN)
def test_statements_are_told_from_remarks(gold, right, wrong):
    assert [response for response in right.split("¦") if not verify(response.strip(), gold)] == []
    assert [response for response in wrong.split("¦") if verify(response.strip(), gold)] == []


def test_a_list_mark_is_no_answer():
    for response in ("Answer:\n- 45", "Answer:\n1. 45", "**Answer:**\n\n* 45"):
        assert verify(response, "45") and not verify(response, "1")


def test_a_thought_that_the_prompt_opened_is_hidden():
    assert verify(r"maybe \boxed{4} hmm, wait", "4")
    assert not verify(r"maybe \boxed{4} hmm, wait", "4", thinking=True)
    assert verify(r"maybe \boxed{5}</think> It is \boxed{4}", "4", thinking=True)


def test_the_last_number_may_be_a_formula():
    matrix = r"\begin{pmatrix}1\\2\end{pmatrix}"
    for response, gold in ((r"Therefore $x \ge 5$.", r"[5,\infty)"), (f"so {matrix}.", matrix)):
        assert verify(response, gold, last_number=True) and not verify(response, gold)


def test_what_is_no_longer_known_is_only_its_own_text():
    for gold, other in (
        (r"(3,\infty)", "2x>6"), (r"1 \pmod 3", r"4 \pmod 3"), (r"\frac17", r"0.\overline{142857}"),
        ("(0,3]", r"(0,2]\cup(1,3]"),
    ):  # fmt: skip
        assert is_equiv(gold, gold) and is_equiv(other, other) and not is_equiv(other, gold), (gold, other)


# Properties.


def test_every_gold_is_its_own_answer_and_understood():
    for gold in GOLDS:
        assert is_equiv(gold, gold) and verify(rf"\boxed{{{gold}}}", gold), gold
        assert understood(gold), gold


LOPSIDED = re.compile(
    r"\d\.\d|%|percent|_|a\+b=|a\^2\+b|a\}\{b|a\+2b|t\{a|n\(a|a\}\+b|BD|y=5|y\^2=5"
)  # decimals, percent, bases, x+y=5


def test_symmetric_where_neither_side_rounds():
    for _, gold, answer, want in CASES:
        if not LOPSIDED.search(gold) and not LOPSIDED.search(answer):
            assert is_equiv(gold, answer) is want, (gold, answer)


REWRITES = {
    "dollars": lambda a: f"${a}$" if "$" not in a else a,
    "brackets": lambda a: rf"\({a}\)" if "$" not in a else a,
    "full stop": lambda a: a + ("" if a.endswith(".") else "."),
    "dfrac": lambda a: a.replace(r"\frac", r"\dfrac"),
    "spaces": lambda a: f"  {a} ",
    "display": lambda a: r"\displaystyle " + a,
    "minus": lambda a: a.replace("-", "−"),
    "pi": lambda a: a.replace(r"\pi", "π"),
    "unreduced": lambda a: re.sub(
        r"\\frac\{(\d+)\}\{(\d+)\}", lambda m: rf"\frac{{{3 * int(m[1])}}}{{{3 * int(m[2])}}}", a
    ),
    "slash": lambda a: re.sub(r"(?<![\d ])\\frac\{(\d+)\}\{(\d+)\}", r"(\1/\2)", a),
    "said": lambda a: f"The answer is {a}",
}


@pytest.mark.parametrize("name", REWRITES)
def test_rewrites_that_people_make_are_accepted(name):
    for gold in GOLDS:
        if gold[-1] not in "!." or name != "full stop":
            assert is_equiv(REWRITES[name](gold), gold), (REWRITES[name](gold), gold)


def mutations(gold):
    for digits in list(re.finditer(r"\d+", gold))[:4]:
        for other in (str(int(digits[0]) + 1), digits[0] + "7"):
            yield gold[: digits.start()] + other + gold[digits.end() :]
    yield from (gold + ", 3", gold + " or 7", "not " + gold, gold + "?", "7" + gold)
    for old, new in (
        ("<", ">"),
        ("(", "["),
        (")", "]"),
        (r"\sqrt", r"\sqrt[3]"),
        (r"\pi", "e"),
        ("x", "z"),
        ("+", "-"),
    ):
        if old in gold:
            yield gold.replace(old, new, 1)


def test_mutations_that_change_the_value_are_refused():
    accepted = [(m, g) for g in GOLDS for m in mutations(g) if m != g and is_equiv(m, g)]
    assert accepted == []


def test_random_rationals_are_compared_exactly():
    rng = random.Random(0)
    for _ in range(500):
        a, b, k = rng.randint(-(10**9), 10**9), rng.randint(1, 10**9), rng.randint(2, 99)
        assert is_equiv(rf"\frac{{{a * k}}}{{{b * k}}}", f"{a}/{b}") and not is_equiv(
            f"{a}/{b}", f"{a * k + 1}/{b * k}"
        )
        assert is_equiv(rf"{a}\sqrt{{{b * k * k}}}", rf"{a * k}\sqrt{{{b}}}")
        assert not is_equiv(rf"{a}\sqrt{{{b * k * k + 1}}}", rf"{a * k}\sqrt{{{b}}}") or a == 0
        assert is_equiv(f"{a:,}", str(a)) and not is_equiv(str(a + 1), str(a))


def test_bad_golds_raise_nothing_and_take_only_the_same_text():
    for gold in (r"\frac{1}{", "145solution:", "((", r"\sum_{k}", "5 +"):
        assert not understood(gold)
        assert is_equiv(gold, gold) and is_equiv(f" {gold} ", gold)
        assert not is_equiv("5", gold) and not is_equiv("", gold) and not is_equiv(gold + "1", gold)
    for empty in ("", " ", "\n"):
        assert not understood(empty)
        assert not is_equiv(empty, empty) and not verify(r"\boxed{}", empty) and not is_equiv("5", empty)
    assert not is_equiv(None, "5") and not is_equiv("5", None) and extract_answer(None) is None


def test_a_label_within_a_label_is_no_part_of_the_answer():
    for text in (r"The answer is $\text{Total: } 5$", 'The answer is "the answer is 5"'):
        assert understood(text) and is_equiv(text, "5") and is_equiv("5", text), text


def test_what_is_not_understood_is_compared_sign_by_sign():
    assert is_equiv(r"\sum\limits_{k=1}^n \dfrac{1}{k}", r"\sum_{k=1}^{n} \frac1k")
    for answer, gold in (
        (r"\sum_{k=1}^{n} 2^{k}+1", r"\sum_{k=1}^{n} 2^{k+1}"), (r"\sum_{k=1}^N k", r"\sum_{k=1}^n k"),
        (r"\sum_{k=1}^n a k", r"\sum_{k=1}^n k"), (r"\sum \frac{1}{23}", r"\sum \frac{12}{3}"),
        (r"p \vee q", r"p \wedge q"), ("p, q", r"p \wedge q"), ("p", "~p"),
    ):  # fmt: skip
        assert is_equiv(gold, gold) and not is_equiv(answer, gold) and not is_equiv(gold, answer), (answer, gold)


def test_an_equation_between_letters_is_no_choice():
    assert not any(is_equiv(answer, "B") for answer in ("A=B", "A=B=C=D", "A = B"))
    assert is_equiv("AB=a", "a")  # a length


# Inputs that hang, crash or fill the memory of other checkers.
MANY = 20_000
HOSTILE = [
    "9^9^9", "9^{9^{9^9}}", "2^{100000000}", "10^{10^{10}}", "(((((9!)!)!)!)!)", "999999999!", "9!!!!!!!!!",
    "1e999999999",
    "(1+\\sqrt2)^{999999}", "e^{e^{e^{e^{e^e}}}}", "\\sin(10^{100})", "\\binom{1000000}{500000}", "1500!" * 300,
    "3^{999}/5^{999}" * 130, "+".join(f"\\frac{{1}}{{{p}}}" for p in range(1001, 1150)), "x^{1000}" * 200,
    "+".join(f"{i}^{{0.{i}}}" for i in range(100, 250)), "\\arctan" * 200 + "1", "i^{i^{i^i}}" * 100,
    "9" * MANY, "9" * 1900, "1" + "0" * 999 + ".5", "0." + "3" * 1900, "0.\\overline{" + "3" * 1900 + "}",
    "(" * MANY, "(" * 900 + "5" + ")" * 900, "{" * MANY, "\\left(" * 150 + "5" + "\\right)" * 150, "|" * 1900,
    "\\frac" * MANY, "\\sqrt" * MANY, "\\sqrt{" * 200 + "5" + "}" * 200, "-" * MANY + "5x", "\\pm" * 600 + "1x",
    "^".join("2" * 900), "+".join("1" * 900), "1/" * 900 + "1", ",".join("1" * 900), "<".join("1" * 900),
    "=".join(["5"] * 400 + ["6"]), "5%%%%%%", "5" + "%" * 1900, "x" + "'" * 1900, "x_{" * 300 + "1" + "}" * 300,
    ",".join(f"(1,{i})" for i in range(250)), "\\cup".join(f"({i},{i + 1})" for i in range(200)), "A," * 900,
    "\\begin{pmatrix}" + "&".join("1" * 900) + "\\end{pmatrix}", "\\begin{pmatrix}" * 100, "\\begin{cases}" * 100,
    "\\boxed{" * 200,
    "\\boxed{" * MANY, "\\boxed{" * MANY + "5" + "}" * MANY, "\\boxed" * MANY, "<think>" * MANY, "</think>" * MANY,
    "the answer is " * MANY, "####" * MANY, "\\" * MANY, "$" * MANY, "\x00" * 100, "\ud800\udfff", "\u202e5x\u202c",
    "\\$" * 900, "\\text{" + " " * 1900, "5" + " " * 1900 + "x", "x\\text{" + " " * 1900, "1 \\ne 2," * 200,
    "C_1^" * 450, "\\bar" * 400, "\\text{A}" * 200, "a=b=" * 450,
    "\ufdfa" * 1900, "½" * 1900, "²" * 1900, "①" * 1900, "\u0300" * 1900, "1 000 " * 300, "1,000," * 300, "2e-1" * 450,
    "__import__('os').system('sleep 9')", "exec('while True: pass')", "5 if True else 6", "\\input{/etc/passwd}",
]  # fmt: skip


def test_hostile_answers_are_false_without_an_exception_and_in_bounded_work(monkeypatch):
    verdicts = []
    made = verifier.Values.__init__

    def spy(self, *args, **kwargs):
        made(self, *args, **kwargs)
        verdicts.append(self)

    monkeypatch.setattr(verifier.Values, "__init__", spy)
    assert understood(" " * 1900 + "5") and not understood("\\boxed{" * 200)
    for text in HOSTILE:
        for gold in ("5", "x^2+1", "1,2", "A"):
            assert is_equiv(text, gold) is False and is_equiv(gold, text) is False, (text[:50], gold)
            assert verify(text, gold) is False and verify(rf"\boxed{{{text}}}", gold) is False, (text[:50], gold)
    assert min(values.left for values in verdicts) > -(10**6)  # the last step before the budget is spent is bounded, too


def test_nesting_needs_little_of_the_interpreter_stack():
    code = "import sys, verifier; sys.setrecursionlimit(500); verifier.is_equiv('-(1+2' * 300 + ')' * 300, '5'); " \
        "print(verifier.is_equiv('-(1+2' * 28 + ')' * 28, '-(2+1' * 28 + ')' * 28))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=verifier.__file__[:-11])
    assert done.stdout == "True\n", done.stderr


# Fuzz: 3,000 texts from fixed seeds. The bound on one verdict is generous, for busy machines.
PIECES = [
    *"0123456789+-*/^_=<>(){}[]|,.;:!%&'$ abxyzeinfC",
    *r"\frac \sqrt \left \pi \text{ \pm \cup \in \infty \{ \}".split(),
]
PIECES += r"\sin \log \binom ^\circ \le 10,000 \begin{pmatrix} \end{pmatrix} \\ \overline and or cm ½ ² √ 个 、".split()


def fuzz(rng):
    made = rng.randrange(4)
    if made == 0:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(60))).decode("latin-1")
    if made == 1:
        return "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0x10FFFF)))) for _ in range(rng.randrange(40)))
    if made == 2:
        return "".join(rng.choice(PIECES) for _ in range(rng.randrange(40)))
    gold = rng.choice(GOLDS)
    return gold[: rng.randrange(len(gold) + 1)]


def test_fuzz_finds_no_exception_no_true_and_nothing_slow():
    rng, unrelated = random.Random(0), r"7919\sqrt{104729}+\frac{1}{6571}"
    for _ in range(3000):
        text, began = fuzz(rng), time.perf_counter()
        assert is_equiv(text, unrelated) is False and is_equiv(unrelated, text) is False, text
        assert verify(text, unrelated, last_number=True) is False and isinstance(understood(text), bool), text
        assert not text.strip() or is_equiv(text, text)
        assert isinstance(is_equiv(text, rng.choice(GOLDS)), bool)
        assert time.perf_counter() - began < 1.0, text


def test_verdicts_do_not_depend_on_order_or_threads():
    cases = CASES[::7]
    wanted = [want for *_, want in cases]
    verdicts = {}

    def grade(name):
        order = list(range(len(cases)))
        random.Random(name).shuffle(order)
        found = {i: is_equiv(cases[i][2], cases[i][1]) for i in order}
        verdicts[name] = [found[i] for i in range(len(cases))]

    threads = [threading.Thread(target=grade, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(verdicts.values()) == [wanted] * 4


def test_a_long_response_costs_in_proportion_to_its_length(monkeypatch):
    seen = []
    braces = phrases.BRACES

    class Counting:
        def finditer(self, text):
            for token in braces.finditer(text):
                seen.append(token.end() - token.start())
                yield token

    monkeypatch.setattr(phrases, "BRACES", Counting())
    for piece in (r"\boxed{", r"\boxed{5} ", "{}", r"\boxed", string.printable):
        seen.clear()
        extract_answer(piece * 1000)
        assert sum(seen) <= len(piece) * 1000  # every character at most once
