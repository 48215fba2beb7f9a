"""The NFU: a DianNao-style accelerator, priced layer by layer, and the programs that it runs.

Tn x Ti multipliers, Tn adder trees, Tn units for a piecewise-linear function; three scratchpads, each with a DMA engine of its
own, before one main memory; a control processor that reads instructions with a field for each of them. After Chen et al.,
DianNao: A Small-Footprint High-Throughput Accelerator for Ubiquitous Machine-Learning (ASPLOS 2014).

    config      what the hardware is                  layer       what it is given to do
    nest        its loops; steps: their instructions  schedule    how they are cut, by cost; estimate: about
    lower       programs, synapses in their order     isa, asm    what an instruction is
    timing      when each of them begins              activity    what units do; accesses: of a program
    energy, area, layout   from published blocks      activation  functions as 16 straight lines
    benchmark, simd        what it is measured by     of_call     layers of lowered plans

Nothing here computes values: `runtime.nfu` does. Two figures stand beside each other and are never mixed: *compulsory* moves each
word once, *scheduled* is what the instructions move through buffers that are too small for that.
"""
